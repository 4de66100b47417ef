"""`krelease extract`: what is in the LoRA, how near it comes, and what it refuses."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from release.engine.standin import make_stand_ins
from release.numeric.dtype import Dtype

UNET = "model.diffusion_model."
BLOCK = f"{UNET}input_blocks.4.1.transformer_blocks.0."
CLIP_L = "conditioner.embedders.0.transformer.text_model.encoder.layers.3."
CLIP_G = "conditioner.embedders.1.model.transformer.resblocks.5."
PACKED = f"{CLIP_G}attn.in_proj_weight"

CHANGED = {
    f"{BLOCK}attn1.to_q.weight": (
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"
    ),
    f"{BLOCK}ff.net.0.proj.weight": (
        "lora_unet_input_blocks_4_1_transformer_blocks_0_ff_net_0_proj"
    ),
    f"{UNET}input_blocks.1.0.in_layers.2.weight": (
        "lora_unet_input_blocks_1_0_in_layers_2"
    ),
    f"{UNET}output_blocks.0.0.skip_connection.weight": (
        "lora_unet_output_blocks_0_0_skip_connection"
    ),
    f"{UNET}label_emb.0.0.weight": "lora_unet_label_emb_0_0",
    f"{CLIP_L}mlp.fc1.weight": "lora_te1_text_model_encoder_layers_3_mlp_fc1",
    f"{CLIP_G}mlp.c_proj.weight": "lora_te2_text_model_encoder_layers_5_mlp_fc2",
}
"""Tensor -> module, of the layers that are one tensor."""
ATTENTION_G = "lora_te2_text_model_encoder_layers_5_self_attn_"
"""Of the packed layer, key and value are changed; the query is not."""
MODULES = {*CHANGED.values(), f"{ATTENTION_G}k_proj", f"{ATTENTION_G}v_proj"}

UNHELD = {
    f"{BLOCK}norm1.weight": "norm",
    f"{BLOCK}attn1.to_out.0.bias": "bias",
    f"{CLIP_G}attn.in_proj_bias": "bias",
    "conditioner.embedders.1.model.token_embedding.weight": "embedding",
    "conditioner.embedders.1.model.text_projection": "other",
    "conditioner.embedders.1.model.logit_scale": "buffer",
    "first_stage_model.decoder.conv_in.weight": "vae",
}
RANK = 4
"""Of the changes."""


@dataclass(frozen=True)
class Refusal:
    """How a command line was refused."""

    exit_code: int
    code: str
    message: str
    hint: str


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Narrow SDXL in F32: a; b, which is a with the changes of low rank; c, a sibling.

    Never write to them.
    """
    folder = tmp_path_factory.mktemp("models")
    paths = {name: folder / f"{name}.safetensors" for name in "abc"}
    make_stand_ins({n: paths[n] for n in "ac"}, divisor=32, dtype=Dtype.F32)
    save_file(changed(load_file(paths["a"])), paths["b"], {"format": "pt"})
    return paths


def changed(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    random = np.random.default_rng(4)
    for name in CHANGED:
        tensors[name] = tensors[name] + low_rank(random, tensors[name].shape)
    third = tensors[PACKED].shape[0] // 3
    for part in (1, 2):
        rows = slice(part * third, (part + 1) * third)
        tensors[PACKED][rows] += low_rank(random, (third, tensors[PACKED].shape[1]))
    for name in UNHELD:
        tensors[name] = np.asarray(tensors[name] + np.float32(0.01))
    return tensors


def low_rank(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    up = random.normal(0, 0.05, (shape[0], RANK))
    down = random.normal(0, 0.05, (RANK, math.prod(shape[1:])))
    return (up @ down).reshape(shape).astype(np.float32)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, empty but for what a test puts there."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("KRELEASE_THREADS", raising=False)
    return folder


@pytest.fixture
def extract(krelease: Callable[..., tuple[int, str, str]], here: Path):
    """Run `krelease extract`, which must succeed: its JSON document."""

    def run(*args: object) -> dict[str, Any]:
        code, out, err = krelease("extract", *args, "--json")
        assert code == 0, err
        return json.loads(out)

    return run


@pytest.fixture
def refused(krelease: Callable[..., tuple[int, str, str]], here: Path):
    """Run `krelease extract`, which must fail, say why, and write nothing."""

    def run(*args: object) -> Refusal:
        before = {path: path.read_bytes() for path in here.iterdir()}
        code, out, err = krelease("extract", *args, "--json")
        assert {path: path.read_bytes() for path in here.iterdir()} == before
        document = json.loads(out)
        assert document["schema"] == "krelease.error/1"
        assert document["hint"]
        assert "Traceback" not in err
        return Refusal(code, document["code"], document["message"], document["hint"])

    return run


@pytest.fixture
def edited(here: Path, models: dict[str, Path]):
    """Write a copy of a model with its tensors changed."""

    def write(name: str, change: Callable[[dict[str, np.ndarray]], object]) -> Path:
        tensors = load_file(models[name])
        change(tensors)
        path = here / f"edited-{name}.safetensors"
        save_file(tensors, path, {"format": "pt"})
        return path

    return write


def product(lora: dict[str, np.ndarray], module: str) -> np.ndarray:
    """Return what kohya's formula adds, in float64, as a matrix."""
    up = lora[f"{module}.lora_up.weight"].astype(np.float64)
    down = lora[f"{module}.lora_down.weight"].astype(np.float64)
    scale = float(lora[f"{module}.alpha"]) / down.shape[0]
    return scale * (up.reshape(len(up), -1) @ down.reshape(len(down), -1))


def difference(models: dict[str, Path], names: str, tensor: str) -> np.ndarray:
    first, second = (load_file(models[name])[tensor] for name in names)
    whole = second.astype(np.float64) - first.astype(np.float64)
    return whole.reshape(whole.shape[0], -1)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("fp16", 2.0**-11), ("fp32", 2.0**-18)]
)
def test_a_plus_the_lora_is_b_in_the_layers_that_it_holds(
    krelease, extract, here, models, dtype, tolerance
):
    extract(
        models["a"], models["b"], "--rank=8", "--out=x.safetensors", "--dtype", dtype
    )

    code, _, err = krelease(
        "merge", "a + 1.0*lora(x)", f"-ia={models['a']}", "-ix=x.safetensors",
        "--to=fp32", "--out=merged.safetensors",
    )  # fmt: skip

    assert code == 0, err
    a, b, merged = (
        load_file(path) for path in (models["a"], models["b"], "merged.safetensors")
    )
    for name in [*CHANGED, PACKED]:
        missing = np.linalg.norm((merged[name] - b[name]).astype(np.float64))
        assert missing <= tolerance * np.linalg.norm(b[name] - a[name])
    rest = a.keys() - {*CHANGED, PACKED}
    assert all(np.array_equal(merged[name], a[name]) for name in rest)


def test_file_holds_the_layers_that_differ_under_kohyas_names(extract, here, models):
    document = extract(models["a"], models["b"], "--rank=8", "--out=x.safetensors")

    lora = load_file("x.safetensors")
    assert {name.partition(".")[0] for name in lora} == MODULES
    assert len(lora) == 3 * len(MODULES)
    assert {each["name"] for each in document["layers"]} == MODULES
    assert all(tensor.dtype == np.float16 for tensor in lora.values())
    conv = "lora_unet_input_blocks_1_0_in_layers_2"
    assert lora[f"{conv}.lora_up.weight"].shape == (10, 8, 1, 1)
    assert lora[f"{conv}.lora_down.weight"].shape == (8, 10, 3, 3)
    assert lora[f"{conv}.alpha"].shape == ()
    assert lora[f"{conv}.alpha"] == 8
    assert f"{ATTENTION_G}q_proj" in document["unchanged"]


def test_document_says_which_rows_of_a_packed_layer_a_module_is(extract, here, models):
    document = extract(models["a"], models["b"], "--rank=8", "--out=x.safetensors")

    rows = {e["name"]: e["rows"] for e in document["layers"] if e["tensor"] == PACKED}
    assert rows == {
        f"{ATTENTION_G}k_proj": [40, 80],
        f"{ATTENTION_G}v_proj": [80, 120],
    }


def test_what_differs_and_cannot_be_held_is_named_with_its_kind(
    krelease, extract, here, models
):
    document = extract(models["a"], models["b"], "--rank=8", "--out=x.safetensors")

    assert {each["name"]: each["reason"] for each in document["unheld"]} == UNHELD
    _, out, _ = krelease(
        "extract", models["a"], models["b"], "--out=y.safetensors", "--dry-run"
    )
    for name, reason in UNHELD.items():
        (line,) = (line for line in out.splitlines() if name in line)
        assert line.startswith(f"differs and is not held ({reason})")


def test_tensors_of_one_model_alone_or_of_another_shape_are_named(
    extract, models, edited
):
    vae = "first_stage_model.decoder.norm_out.weight"
    gone = f"{BLOCK}norm2.weight"

    def change(tensors):
        tensors[vae] = tensors[vae].reshape(1, -1)
        del tensors[gone]
        tensors["v_pred"] = np.zeros(0, np.float32)

    document = extract(models["a"], edited("b", change), "--out=x.safetensors")

    expected = {**UNHELD, vae: "vae", gone: "missing", "v_pred": "missing"}
    assert {each["name"]: each["reason"] for each in document["unheld"]} == expected
    metadata = safe_metadata(Path("x.safetensors"))
    assert metadata["modelspec.prediction_type"] == "v"


def test_error_of_every_layer_is_the_least_that_its_rank_allows(extract, here, models):
    document = extract(
        models["a"], models["c"], "--rank=3", "--dtype=fp32", "--out=x.safetensors"
    )

    assert len(document["layers"]) == 1058
    lora = load_file("x.safetensors")
    by_name = {each["name"]: each for each in document["layers"]}
    for tensor, name in CHANGED.items():
        matrix = difference(models, "ac", tensor)
        values = np.linalg.svd(matrix, compute_uv=False)
        best = math.sqrt((values[3:] ** 2).sum() / (values**2).sum())
        reported = by_name[name]["relative_error"]
        actual = np.linalg.norm(matrix - product(lora, name)) / np.linalg.norm(matrix)
        assert best > 0.1
        assert reported == pytest.approx(best, rel=0.01)
        assert reported == pytest.approx(actual, rel=1e-6)
        assert by_name[name]["snr_db"] == pytest.approx(-20 * math.log10(actual))


def test_error_of_the_whole_weighs_layers_by_their_difference(extract, here, models):
    document = extract(models["a"], models["b"], "--rank=2", "--out=x.safetensors")

    first, second = load_file(models["a"]), load_file(models["b"])
    missing = whole = 0.0
    for each in document["layers"]:
        rows = slice(*each["rows"])
        matrix = second[each["tensor"]][rows].astype(float)
        matrix -= first[each["tensor"]][rows]
        square = float((matrix**2).sum())
        whole += square
        missing += square * each["relative_error"] ** 2
    assert document["relative_error"] == pytest.approx(math.sqrt(missing / whole))
    assert document["relative_error"] > 0.1


def test_rank_beyond_a_layer_is_cut_and_alpha_follows(extract, here, models):
    extract(models["a"], models["b"], "--rank=64", "--out=x.safetensors")

    lora = load_file("x.safetensors")
    conv = "lora_unet_input_blocks_1_0_in_layers_2"
    assert lora[f"{conv}.lora_down.weight"].shape == (10, 10, 3, 3)
    assert lora[f"{conv}.alpha"] == 10
    assert safe_metadata(Path("x.safetensors"))["ss_network_dim"] == "64"


def test_same_bytes_in_every_run_with_any_number_of_threads(extract, here, models):
    for number, threads in enumerate((1, 2, 7)):
        folder = here / str(number)
        folder.mkdir()
        extract(
            models["a"], models["c"], "--rank=8", "--threads", threads,
            "--out", folder / "x.safetensors",
        )  # fmt: skip

    first, *others = ((here / str(n) / "x.safetensors").read_bytes() for n in range(3))
    assert all(other == first for other in others)


def test_finished_file_verifies_as_intact(krelease, extract, here, models):
    document = extract(models["a"], models["b"], "--rank=8", "--out=x.safetensors")

    code, out, _ = krelease("verify", "x.safetensors", "--sha256", "--json")

    assert code == 0
    assert json.loads(out)["intact"]
    metadata = safe_metadata(Path("x.safetensors"))
    assert metadata["krelease.tensor_set_xxh3_128"] == document["tensor_set_xxh3_128"]
    assert metadata["modelspec.hash_sha256"] == f"0x{document['data_sha256']}"
    assert document["nbytes"] == Path("x.safetensors").stat().st_size


def test_header_says_what_it_is_and_nothing_of_this_machine(extract, here, models):
    extract(models["a"], models["b"], "--rank=8", "--out", here / "x.safetensors")

    metadata = safe_metadata(here / "x.safetensors")
    assert metadata["format"] == "pt"
    assert metadata["ss_network_module"] == "networks.lora"
    assert metadata["ss_network_dim"] == "8"
    assert metadata["ss_network_alpha"] == "8.0"
    assert metadata["ss_base_model_version"] == "sdxl_base_v1-0"
    assert metadata["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora"
    assert metadata["modelspec.title"] == "x"
    assert metadata["krelease.stand_in"] == "random values"
    text = json.dumps(metadata)
    assert str(here) not in text
    assert str(models["a"].parent) not in text


def test_header_names_both_models_by_the_digests_that_they_carry(
    krelease, extract, here, models
):
    for name in "ab":
        krelease("convert", models[name], "--to=fp16", "--out=.")

    extract("a-fp16.safetensors", "b-fp16.safetensors", "--out=x.safetensors")

    key = "krelease.tensor_set_xxh3_128"
    found = json.loads(safe_metadata(Path("x.safetensors"))["krelease.ingredients"])
    assert found == {
        name: safe_metadata(Path(f"{name}-fp16.safetensors"))[key] for name in "ab"
    }


def test_scaled_weights_count_as_what_they_stand_for(krelease, extract, here, models):
    krelease("convert", models["b"], "--to=fp8-scaled", "--out=.")
    krelease("convert", "b-fp8_scaled.safetensors", "--to=fp32", "--out=.")
    (plain,) = here.glob("b-*fp32.safetensors")
    arguments = ("--rank=4", "--out")

    extract(models["a"], "b-fp8_scaled.safetensors", *arguments, "x.safetensors")
    extract(models["a"], plain, *arguments, "y.safetensors")

    scaled, expected = load_file("x.safetensors"), load_file("y.safetensors")
    assert scaled.keys() == expected.keys()
    assert all(np.array_equal(scaled[name], expected[name]) for name in expected)


def test_dry_run_says_how_large_the_file_would_be_and_writes_none(
    extract, here, models
):
    plan = extract(models["a"], models["b"], "--out=x.safetensors", "--dry-run")

    assert plan["schema"] == "krelease.extract-plan/1"
    assert list(here.iterdir()) == []
    assert plan["n_layers"] == len(MODULES)
    done = extract(models["a"], models["b"], "--out=x.safetensors")
    assert done["nbytes"] == plan["nbytes"]
    assert done["unheld"] == plan["unheld"]


def test_text_has_each_part_and_the_worst_layers(krelease, here, models):
    code, out, err = krelease(
        "extract", models["a"], models["b"], "--rank=2", "--out=x.safetensors"
    )

    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].startswith("x.safetensors: ")
    for part, n_layers in (("clip_l", 1), ("clip_g", 3), ("unet", 5), ("all", 9)):
        assert any(line.split()[:2] == [part, str(n_layers)] for line in lines)
    worst = [line.split() for line in lines if line.startswith("lora_")]
    errors = [float(error.removesuffix("%")) for _, error, _ in worst]
    assert len(errors) == 5
    assert errors == sorted(errors, reverse=True)
    assert "compare: " in err


def test_quiet_prints_the_path_alone(krelease, here, models):
    assert krelease(
        "extract", models["a"], models["b"], "--out=x.safetensors", "-q"
    ) == (0, "x.safetensors\n", "")


def test_models_without_a_difference_are_refused(refused, models):
    refusal = refused(models["a"], models["a"], "--out=x.safetensors")

    assert (refusal.exit_code, refusal.code) == (4, "no-difference")
    assert "all 1,058 layers" in refusal.message


def test_models_that_differ_only_in_other_tensors_are_refused_naming_them(
    refused, models, edited
):
    norm = f"{BLOCK}norm1.weight"
    path = edited("a", lambda tensors: tensors[norm].__iadd__(1))

    refusal = refused(models["a"], path, "--out=x.safetensors")

    assert refusal.code == "no-difference"
    assert f"1 other tensors differ: {norm}" in refusal.message


def test_layers_of_different_shapes_are_refused(refused, models, edited):
    name = f"{BLOCK}attn1.to_q.weight"
    path = edited(
        "b", lambda tensors: tensors.update({name: tensors[name][:, :-1].copy()})
    )

    refusal = refused(models["a"], path, "--out=x.safetensors")

    assert (refusal.exit_code, refusal.code) == (4, "shape-differs")
    assert f"{name} has shape [20, 19]; expected [20, 20]" in refusal.message


@pytest.mark.parametrize("damaged", ["a", "b"])
def test_damaged_model_is_refused_by_the_digests_in_its_own_header(
    krelease, refused, extract, here, models, damaged
):
    for name in "ab":
        krelease("convert", models[name], "--to=fp16", "--out=.")
    path = here / f"{damaged}-fp16.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    files = ("a-fp16.safetensors", "b-fp16.safetensors", "--out=x.safetensors")

    refusal = refused(*files)
    planned = refused(*files, "--dry-run")
    extract(*files, "--unverified")

    assert (refusal.exit_code, refusal.code) == (5, "source-damaged")
    assert refusal.message.startswith(path.name)
    assert planned == refusal
    assert "--unverified" in refusal.hint


@pytest.mark.parametrize("swaps", [False, True])
def test_layer_that_only_one_model_has_is_refused(refused, models, edited, swaps):
    name = f"{CLIP_L}mlp.fc1.weight"
    path = edited("b", lambda tensors: tensors.pop(name))
    both = [models["a"], path]

    refusal = refused(*(both[::-1] if swaps else both), "--out=x.safetensors")

    assert refusal.code == "missing-tensors"
    assert CHANGED[name] in refusal.message
    assert refusal.message.startswith(str(path))


def test_models_of_two_architectures_are_refused(refused, here, models):
    name = "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight"
    save_file({name: np.ones((4, 4), np.float32)}, here / "sd1.safetensors")

    refusal = refused(models["a"], "sd1.safetensors", "--out=x.safetensors")

    assert refusal.code == "architecture-differs"
    assert "sd1; expected sdxl" in refusal.message


def test_files_without_known_layers_are_refused(refused, here):
    save_file({"w": np.ones((4, 4), np.float32)}, here / "w.safetensors")

    refusal = refused("w.safetensors", "w.safetensors", "--out=x.safetensors")

    assert refusal.code == "no-layers"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_with_their_place(
    refused, models, edited, value
):
    def spoil(tensors):
        tensors[PACKED][41, 2] = value

    path = edited("b", spoil)

    refusal = refused(models["a"], path, "--out=x.safetensors")

    assert (refusal.exit_code, refusal.code) == (4, "not-finite")
    assert refusal.message.startswith(f"{path}: tensor {PACKED}")
    assert f"at element {41 * 40 + 2:,}" in refusal.message


def test_factors_beyond_fp16_are_refused_and_fit_fp32(refused, extract, models, edited):
    name = f"{BLOCK}attn1.to_q.weight"

    def enlarge(tensors):
        tensors[name][3, 5] = 1e12

    path = edited("b", enlarge)

    refusal = refused(models["a"], path, "--out=x.safetensors")
    document = extract(models["a"], path, "--dtype=fp32", "--out=x.safetensors")

    assert refusal.code == "factor-range"
    assert "beyond F16" in refusal.message
    assert document["relative_error"] < 1e-6


def test_part_of_a_killed_run_is_removed(extract, here, models):
    left = here / ".another.safetensors.123456.part"
    left.write_bytes(b"of a killed run")

    extract(models["a"], models["b"], "--out=x.safetensors")

    assert [path.name for path in here.iterdir()] == ["x.safetensors"]


def test_existing_file_needs_force(refused, extract, here, models):
    out = here / "x.safetensors"
    out.write_bytes(b"old")

    assert refused(models["a"], models["b"], "--out", out).code == "output-exists"
    extract(models["a"], models["b"], "--out", out, "--force")

    assert len(load_file(out)) == 3 * len(MODULES)


def test_model_itself_is_not_replaced(refused, edited, models):
    path = edited("b", lambda _: None)

    refusal = refused(models["a"], path, "--out", path)

    assert refusal.code == "output-is-input"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--out=x.ckpt"], ".safetensors file"),
        (["--out=x.safetensors", "--dtype=fp8"], "expected fp16 or fp32"),
        (["--out=x.safetensors", "--rank=0"], "--rank"),
        (["--out=x.safetensors", "--rank=1025"], "--rank"),
        ([], "--out"),
    ],
)
def test_options_that_cannot_be_followed_are_usage_errors(
    refused, models, options, expected
):
    refusal = refused(models["a"], models["b"], *options)

    assert refusal.exit_code == 2
    assert expected in refusal.message


def safe_metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "numpy") as file:
        return file.metadata()
