"""Ingredients that must not be merged: each is refused by name, and nothing is left."""

from contextlib import ExitStack

import numpy as np
import pytest
import safetensors.numpy

from release.architecture.sdxl import sdxl_tensors
from release.build import checkpoint_name, plan_build
from release.definition import folded_recipe
from release.errors import (
    HeaderError,
    InputError,
    LayoutError,
    NoSpaceError,
    RecipeError,
    ShapeError,
    TensorMismatchError,
    ValueRangeError,
)
from release.folder import build_folder
from release.formats.open import open_checkpoint
from release.ingredients import locate
from release.progress import NoProgress

WEIGHT = "model.diffusion_model.input_blocks.4.1.proj_in.weight"
POSITION_IDS = "conditioner.embedders.0.transformer.text_model.embeddings.position_ids"
NORMS = [
    f"model.diffusion_model.input_blocks.7.1.transformer_blocks.{n}.norm1.weight"
    for n in range(7)
]


def set_values(value, *names):
    def edit(tensors):
        for name in names:
            tensors[name][:] = value

    return edit


def change(name, function):
    def edit(tensors):
        tensors[name] = np.ascontiguousarray(function(tensors[name]))

    return edit


def remove(name):
    return lambda tensors: tensors.pop(name)


def add(name, tensor):
    return lambda tensors: tensors.update({name: tensor})


def keep_sd1(tensors):
    tensors.clear()
    tensors["cond_stage_model.transformer.x.weight"] = np.zeros(1, np.float16)


def clear(tensors):
    tensors.clear()


def listing(folder):
    return sorted(str(path) for path in folder.rglob("*"))


@pytest.fixture
def edited(tmp_path, ingredients):
    """Return the ingredients with one of them replaced by an edited copy."""

    def replaced(name, edit):
        tensors = safetensors.numpy.load_file(ingredients[name])
        edit(tensors)
        path = tmp_path / f"{name}.safetensors"
        safetensors.numpy.save_file(tensors, path)
        return {**ingredients, name: path}

    return replaced


def refused(definition, paths, root, error):
    """Build, and return the refusal; the target's folder must be as it was."""
    before = listing(root)
    located = locate(definition, paths, base=root, connection=None)
    with pytest.raises(error) as caught:
        build_folder(
            definition, located, root / "out", threads=2, progress=NoProgress()
        )
    assert listing(root) == before
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    return caught.value


PLANNED = {
    "missing tensor": (remove(WEIGHT), TensorMismatchError, "missing-tensors", WEIGHT),
    "extra tensor": (
        add("lora.weight", np.zeros(1, np.float16)),
        TensorMismatchError,
        "missing-tensors",
        "lora.weight",
    ),
    "transposed": (
        change("first_stage_model.decoder.conv_in.weight", np.transpose),
        ShapeError,
        "shape-differs",
        "first_stage_model.decoder.conv_in.weight",
    ),
    "broadcastable": (
        change("model.diffusion_model.out.2.bias", lambda array: array[:1]),
        ShapeError,
        "shape-differs",
        "model.diffusion_model.out.2.bias",
    ),
    "other rank": (
        change(WEIGHT, lambda array: array[..., None]),
        ShapeError,
        "rank",
        WEIGHT,
    ),
    "SD1.5": (keep_sd1, TensorMismatchError, "not-sdxl", "is an SD1.x checkpoint"),
    "no tensors": (clear, TensorMismatchError, "not-sdxl", "expected SDXL"),
}


@pytest.mark.parametrize("case", PLANNED)
def test_ingredient_of_another_form_is_refused_before_reading(
    edited, tmp_path, gamma_rev2, case
):
    edit, error, code, words = PLANNED[case]

    caught = refused(gamma_rev2, edited("anxl3", edit), tmp_path, error)

    assert (caught.code, caught.exit_code) == (code, 4)
    assert words in str(caught)
    assert "anxl3.safetensors" in str(caught)


VALUES = {
    "NaN in seven tensors": (
        set_values(np.nan, *NORMS),
        "7 of 2515 tensors cannot be written: "
        + ", ".join(f"{name} (anxl3 holds NaN at element 0)" for name in NORMS[:5])
        + " and 2 more",
    ),
    "indices that differ": (
        set_values(1, POSITION_IDS),
        f"{POSITION_IDS} (differs between beta7 and anxl3)",
    ),
}


@pytest.mark.parametrize("case", VALUES)
def test_ingredient_with_wrong_values_is_refused(edited, tmp_path, gamma_rev2, case):
    edit, words = VALUES[case]

    caught = refused(gamma_rev2, edited("anxl3", edit), tmp_path, ValueRangeError)

    assert (caught.code, caught.exit_code) == ("values", 4)
    assert words in str(caught)
    assert ("anxl3.safetensors: " in str(caught)) == ("anxl3 holds" in words)


def test_result_beyond_float16_is_refused(edited, tmp_path, gamma_rev2):
    paths = edited("anxl3", set_values(60_000, WEIGHT))
    paths |= {"beta7": edited("beta7", set_values(60_000, WEIGHT))["beta7"]}

    caught = refused(gamma_rev2, paths, tmp_path, ValueRangeError)

    assert f"{WEIGHT} (reaches 1005" in str(caught)
    assert "beyond F16's 65504" in str(caught)


DAMAGES = {
    "last byte missing": (lambda data: data[:-1], LayoutError, "truncated"),
    "header cut": (lambda data: data[:1000], HeaderError, "header-length"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_damaged_ingredient_is_refused(tmp_path, ingredients, gamma_rev2, case):
    damage, error, code = DAMAGES[case]
    path = tmp_path / "base8.safetensors"
    path.write_bytes(damage(ingredients["base8"].read_bytes()))

    caught = refused(gamma_rev2, {**ingredients, "base8": path}, tmp_path, error)

    assert (caught.code, caught.exit_code) == (code, 4)
    assert "base8.safetensors" in str(caught)


def test_ingredient_that_is_not_there_is_refused(tmp_path, ingredients, gamma_rev2):
    paths = {**ingredients, "base8": tmp_path / "base8.safetensors"}

    with pytest.raises(InputError) as caught:
        locate(gamma_rev2, paths, base=tmp_path, connection=None)

    assert caught.value.code == "not-found"


def test_room_is_asked_for_archives_too_before_anything_is_read(
    tmp_path, ingredients, gamma_rev2, planned, monkeypatch
):
    class JustEnoughForTheCheckpoints:
        f_bavail = int(planned.write_nbytes * 2.01) + 1
        f_frsize = 1

    monkeypatch.setattr("os.statvfs", lambda _path: JustEnoughForTheCheckpoints)
    monkeypatch.setattr("release.folder.execute", None)

    caught = refused(gamma_rev2, ingredients, tmp_path, NoSpaceError)

    assert (caught.code, caught.exit_code) == ("no-space", 9)
    assert caught.free == JustEnoughForTheCheckpoints.f_bavail
    assert caught.needed > caught.free


def with_recipe(definition, **changes):
    recipe = definition.recipe.model_copy(update=changes)
    return definition.model_copy(update={"recipe": recipe})


def plan(definition, paths):
    with ExitStack() as stack:
        opened = {
            name: stack.enter_context(open_checkpoint(path))
            for name, path in paths.items()
        }
        return plan_build(definition, opened)


@pytest.fixture(scope="module")
def planned(gamma_rev2, ingredients):
    return plan(gamma_rev2, ingredients).passes


def test_ingredients_are_summed_in_the_order_of_their_names(gamma_rev2):
    assert folded_recipe(gamma_rev2).needed == ("anxl2", "anxl3", "base8", "beta7")


def test_vae_and_copies_come_from_the_ingredients_named_for_them(
    gamma_rev2, ingredients
):
    other = with_recipe(gamma_rev2, vae="anxl3", copy_from="base8")

    planned = plan(other, ingredients).passes

    vae = [job for job in planned.jobs if job.name.startswith("first_stage_model.")]
    copied = [job for job in planned.jobs if job.copied]
    assert len(vae) == 248
    for job in vae:
        assert [operand.coefficient for operand in job.operands] == [0, 1, 0, 0]
    assert POSITION_IDS in {job.name for job in copied}
    for job in copied:
        assert planned.ingredients[job.operands[0].ingredient].name == "base8"


def test_every_ingredient_is_read_once_and_whole(planned, ingredients):
    data = sum(
        path.stat().st_size - 8 - int.from_bytes(path.read_bytes()[:8], "little")
        for path in ingredients.values()
    )
    assert planned.read_nbytes == data


def test_marker_that_only_a_later_ingredient_has_is_told_and_left_out(
    edited, gamma_rev2
):
    marker = np.zeros((), np.float32)

    planned = plan(gamma_rev2, edited("anxl3", add("v_pred", marker)))

    assert planned.warnings == ("anxl3: not taken over: v_pred",)
    assert all(
        "v_pred" not in {entry.name for entry in output.entries}
        for output in planned.passes.outputs
    )


def test_marker_of_the_base_is_kept_and_said_in_the_metadata(edited, gamma_rev2):
    marker = np.zeros((), np.float32)

    planned = plan(gamma_rev2, edited("beta7", add("v_pred", marker)))

    for output in planned.passes.outputs:
        assert output.metadata["modelspec.prediction_type"] == "v"
        assert [e.dtype.code for e in output.entries if e.name == "v_pred"] == ["F32"]


def test_optional_tensor_may_be_missing_everywhere(edited, gamma_rev2):
    optional = {entry.name for entry in sdxl_tensors() if entry.optional}

    planned = plan(gamma_rev2, edited("anxl3", remove(POSITION_IDS)))

    assert POSITION_IDS in optional
    assert planned.warnings == ()


def test_file_names_are_stem_and_variant(gamma_rev2):
    assert checkpoint_name(gamma_rev2, "fp8") == "kohaku-xl-gamma-rev2-fp8.safetensors"


def test_missing_tensors_are_taken_from_the_ingredient_that_is_kept(edited, gamma_rev2):
    paths = edited("anxl3", remove(NORMS[0]))
    recipe = with_recipe(gamma_rev2, missing="keep:base8")

    planned = plan(recipe, paths).passes

    (job,) = [job for job in planned.jobs if job.name == NORMS[0]]
    coefficients = {
        planned.ingredients[operand.ingredient].name: operand.coefficient
        for operand in job.operands
    }
    assert coefficients == {"anxl2": 0, "base8": 1, "beta7": 0}
    assert all(
        NORMS[0] in {entry.name for entry in output.entries}
        for output in planned.outputs
    )


def test_result_has_tensors_that_only_the_base_lacks(edited, gamma_rev2):
    paths = edited("beta7", remove(NORMS[0]))

    planned = plan(with_recipe(gamma_rev2, missing="keep:base8"), paths).passes

    for output in planned.outputs:
        assert NORMS[0] in {entry.name for entry in output.entries}


def test_tensor_that_the_kept_ingredient_lacks_is_refused(edited, gamma_rev2):
    paths = edited("base8", remove(NORMS[0]))

    with pytest.raises(TensorMismatchError) as refused:
        plan(with_recipe(gamma_rev2, missing="keep:base8"), paths)

    assert NORMS[0] in str(refused.value)
    assert str(paths["base8"]) in str(refused.value)


def test_lora_is_refused_by_a_build(gamma_rev2, ingredients):
    steps = {**gamma_rev2.recipe.steps, "gamma": "beta7 + anxl3 - anxl2 + lora(base8)"}

    with pytest.raises(RecipeError) as refused:
        plan(with_recipe(gamma_rev2, steps=steps), ingredients)

    assert refused.value.code == "release-lora"


def test_build_takes_methods(gamma_rev2, ingredients):
    steps = {
        **gamma_rev2.recipe.steps,
        "gamma": "slerp(beta7, anxl3 + anxl2 - base8, 1)",
    }

    found = plan(with_recipe(gamma_rev2, steps=steps), ingredients)

    assert any(job.methods for job in found.passes.jobs)
