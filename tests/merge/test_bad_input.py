"""What cannot be merged: its exit code, its code, one line, a hint, no output."""

from hashlib import sha256  # noqa: TID251  # an oracle that is not our code
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import xxhash

from release.errors import RecipeError
from release.recipe.fold import fold
from release.recipe.text import Origin, recipe_of_expression

HALF = "0.5*a + 0.5*b"
NORM = "model.diffusion_model.input_blocks.7.1.transformer_blocks.2.norm1.weight"
LONG = "model.diffusion_model.input_blocks.4.1.proj_in.weight"
BIAS = "model.diffusion_model.out.2.bias"
POSITION_IDS = "conditioner.embedders.0.transformer.text_model.embeddings.position_ids"

NOWHERE = ("-ia=no/a.safetensors", "-ib=no/b.safetensors")


def weights(count, first="0.5"):
    return f"mbw(a, b, '{','.join([first, *['0.5'] * (count - 1)])}')"


WRITTEN = {
    # Expression -> code, words of the message, words of the hint.
    "a +* b": ("recipe-syntax", "column 4: got '*'", "signs"),
    "a + (b": ("recipe-syntax", "column 7: got the end, expected ')'", "early"),
    "0.5*anxl33 + b": (
        "unknown-name",
        "column 5: unknown name 'anxl33'",
        "known: a, b",
    ),
    "0.5*a + 0.5*bb": ("unknown-name", "unknown name 'bb'", "did you mean b?"),
    weights(19): ("block-weights", "got 19 block weights, expected 20", "BASE"),
    weights(21): ("block-weights", "got 21 block weights; supermerger takes 20", "VAE"),
    weights(20, "much"): ("block-weights", "'much'", ""),
    weights(20, "nan"): ("block-weights", "'nan'", ""),
    "mbw(a, b, 'OUT12=1')": ("block-weights", "weight of 'OUT12'", "OUT02"),
    "train_difference(a, b, b)": (
        "method-not-built",
        "train_difference is not linear and not built; it is refused rather than",
        "slerp",
    ),
    "slerp(a, b, 2)": ("method-parameter", "got 2 for t of slerp", "slerp(a, b, t)"),
    "slerp(a, b)": ("method-parameter", "got no t in slerp", "slerp(a, b, t)"),
    "a * b": ("recipe-not-linear", "got a product of two models", "a + 0.5 * (b - c)"),
    "0.5*a": ("unused-ingredient", "not needed for the expression: b", "remove it"),
    "a - a + b - b": ("recipe-empty", "every coefficient is 0", "cancel out"),
    "lora(a) + lora(b)": ("recipe-empty", "only LoRAs", "base + 0.6 * lora(style)"),
    "a + lora(a) + b": ("lora-use", "a is a LoRA elsewhere, and a model here", "lora"),
}


@pytest.mark.parametrize("expression", WRITTEN)
def test_wrong_expression_is_refused_before_a_file_is_looked_for(refused, expression):
    code, words, hint = WRITTEN[expression]

    found = refused(expression, *NOWHERE)

    assert (found.exit_code, found.code) == (3, code)
    assert words in found.message
    assert hint in found.hint


@pytest.mark.parametrize(
    ("expression", "caret"), [("a +* b", "     ^"), ("0.5*a + 0.5*bb", " " * 14 + "^")]
)
def test_place_in_the_expression_is_shown_below_it(refused, expression, caret):
    found = refused(expression, *NOWHERE)

    assert found.said.splitlines()[1:3] == [f"  {expression}", caret]


COMMANDS = {
    "neither": ([], 2, "merge-recipe", "EXPRESSION or --recipe"),
    "both": (["a", "--recipe=gamma-rev1"], 2, "merge-recipe", "and not both"),
    "convention of a recipe": (
        ["--recipe=gamma-rev1", "--convention=sd-mecha"],
        2,
        "merge-recipe",
        "--convention and --missing are for an EXPRESSION",
    ),
    "one file for two variants": (
        [HALF, *NOWHERE, "--to=fp16", "--to=fp8", "--out=x.safetensors"],
        2,
        "merge-out",
        "one file for 2 variants",
    ),
    "unknown preset": ([HALF, *NOWHERE, "--to=fp61"], 2, "unknown-preset", "fp61"),
    "unknown convention": (
        [HALF, *NOWHERE, "--convention=super"],
        3,
        "unknown-convention",
        "--convention: unknown block-weight convention 'super'",
    ),
    "missing from nobody": (
        [HALF, *NOWHERE, "--missing=keep:c"],
        3,
        "unknown-name",
        "'c'",
    ),
    "missing ignored": (
        [HALF, *NOWHERE, "--missing=skip"],
        3,
        "recipe-missing",
        "skip",
    ),
    "ingredient twice": (
        [HALF, *NOWHERE, "-ia=x"],
        2,
        "ingredient-option",
        "given twice",
    ),
    "ingredient without a path": ([HALF, "-ia"], 2, "ingredient-option", "NAME=PATH"),
    "ingredient that is not there": (
        [HALF, *NOWHERE],
        4,
        "not-found",
        "no/a.safetensors: not found",
    ),
    "catalog's without files": (
        ["--recipe=gamma-rev2", "-ibeta7=x"],
        3,
        "missing-ingredient",
        "missing ingredient: base8: no file is given",
    ),
    "ingredient of no recipe": (
        ["--recipe=gamma-rev2", "-ianxl4=x"],
        2,
        "unknown-ingredient",
        "--ingredient anxl4",
    ),
    "no such recipe": (["--recipe=gamma-rev3"], 3, "unknown-release", "gamma-rev3"),
    "reference of another form": (
        ["a", "-ia=hf://maker"],
        2,
        "reference",
        "expected hf://OWNER/REPO[@REVISION]/FILE",
    ),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_wrong_command_line_is_refused(refused, case):
    command, exit_code, code, words = COMMANDS[case]

    found = refused(*command)

    assert (found.exit_code, found.code) == (exit_code, code)
    assert words in found.message


def recipe(path, settings="", **ingredient):
    """Write a recipe file of two halves; `ingredient` says more of a."""
    more = "".join(f', {key} = "{value}"' for key, value in ingredient.items())
    path.write_text(
        f"[recipe]\nschema = 1\n{settings}[ingredients]\n"
        f'a = {{ file = "a.safetensors"{more} }}\nb = {{ file = "b.safetensors" }}\n'
        f'[steps]\nhalf = "{HALF}"\n[output]\nfrom = "half"\n'
    )
    return f"--recipe={path.name}"


def test_unknown_key_of_a_recipe_file_is_named(refused, here):
    found = refused(recipe(here / "mine.toml", 'vea = "a"\n'))

    assert (found.exit_code, found.code) == (3, "recipe")
    assert "mine.toml" in found.message
    assert "recipe.vea" in found.message


DIGESTS = {
    "sha256": ("SHA-256", lambda data: sha256(data).hexdigest()),
    "xxh3": ("xxh3-128", xxhash.xxh3_128_hexdigest),
    "autov2": ("AutoV2", lambda data: sha256(data).hexdigest()[:10]),
}


@pytest.mark.parametrize("kind", DIGESTS)
def test_ingredient_with_another_digest_is_refused_before_it_is_opened(
    refused, here, kind
):
    """What is compared is the file; that these are no checkpoints is not seen."""
    title, digest = DIGESTS[kind]
    for name in ("a", "b"):
        (here / f"{name}.safetensors").write_bytes(name.encode())
    expected = digest(b"other")

    found = refused(recipe(here / "mine.toml", **{kind: expected}))

    assert (found.exit_code, found.code) == (5, "ingredient-digest")
    assert found.message == (
        f"a.safetensors: ingredient a has {title} {digest(b'a')}; expected {expected}"
    )


def test_ingredients_with_the_right_digests_are_opened(refused, here):
    for name in ("a", "b"):
        (here / f"{name}.safetensors").write_bytes(name.encode())
    right = {kind: digest(b"a") for kind, (_, digest) in DIGESTS.items()}

    found = refused(recipe(here / "mine.toml", **right))

    assert (found.exit_code, found.code) == (4, "too-short")


def test_ingredient_with_a_digest_that_is_not_there_is_not_found(refused, here):
    found = refused(recipe(here / "mine.toml", autov2="0123456789"))

    assert (found.exit_code, found.code) == (4, "not-found")
    assert found.message.startswith("a.safetensors: not found")


def keep_sd1(tensors):
    tensors.clear()
    tensors["cond_stage_model.transformer.text_model.x.weight"] = np.zeros(1, "<f2")
    tensors[f"{LONG}"] = np.zeros((1, 1), "<f2")


def remove(tensors):
    del tensors[NORM]


def cut(tensors):
    tensors[BIAS] = tensors[BIAS][:1]


HEADERS = {
    # What is done to b -> code, words.
    "SD1": (keep_sd1, "not-sdxl", "is an SD1.x checkpoint; expected SDXL"),
    "lacks a tensor": (remove, "missing-tensors", NORM),
    "other shape": (cut, "shape-differs", f"{BIAS} has shape [1]; expected [4]"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_models_that_do_not_fit_together_are_refused_by_their_headers(
    refused, edited, models, monkeypatch, case
):
    change, code, words = HEADERS[case]
    path = edited("b", change)
    monkeypatch.setattr("release.convert.run.execute", None)

    found = refused(HALF, f"-ia={models['a']}", f"-ib={path}")

    assert (found.exit_code, found.code) == (4, code)
    assert found.message.startswith(f"{path}: ")
    assert words in found.message


def spoil(tensors):
    tensors[NORM][3] = np.nan
    tensors[LONG].reshape(-1)[270_001] = -np.inf
    tensors[POSITION_IDS][0, 5] = 4


def enlarge(tensors):
    tensors[BIAS][:] = 60_000


def test_values_that_must_not_be_merged_are_named_with_their_places(
    refused, edited, models
):
    path = edited("b", spoil)

    found = refused("a + b", f"-ia={models['a']}", f"-ib={path}")

    assert (found.exit_code, found.code) == (4, "values")
    assert found.message.startswith(f"{path}: 3 of 2515 tensors cannot be written")
    assert f"{NORM} (b holds NaN at element 3)" in found.message
    assert f"{LONG} (b holds infinity at element 270,001)" in found.message
    assert f"{POSITION_IDS} (differs between a and b)" in found.message


def test_values_are_named_below_methods_too(refused, edited, models):
    path = edited("b", spoil)

    found = refused("slerp(a, 2*b - a, 0.5)", f"-ia={models['a']}", f"-ib={path}")

    assert (found.exit_code, found.code) == (4, "values")
    assert found.message.startswith(f"{path}: ")
    assert f"{NORM} (b holds NaN at element 3)" in found.message
    assert f"{LONG} (b holds infinity at element 270,001)" in found.message


def test_result_beyond_fp16_is_refused_or_clamped_or_fits_bf16(
    refused, merge, edited, models
):
    path = edited("b", enlarge)
    command = ("a + 2*b - b - 0.5*a + 0.5*b", f"-ia={models['a']}", f"-ib={path}")

    found = refused(*command)
    done = merge(*command, "--clamp", "--to=fp16", "--to=bf16")

    assert (found.exit_code, found.code) == (4, "values")
    assert f"{BIAS} (reaches 90000" in found.message
    assert "beyond F16's 65504" in found.message
    clamped = safetensors.numpy.load_file(done.path())[BIAS]
    assert clamped.tolist() == [65504.0] * 4
    assert "fp16: 4 values were too large for F16" in done.said


def test_missing_tensors_are_those_of_the_model_that_is_kept(
    merge, edited, models, formulas
):
    path = edited("b", remove)

    done = merge(HALF, f"-ia={models['a']}", f"-ib={path}", "--missing=keep:a")

    values = {"a": formulas.values(models["a"]), "b": formulas.values(path)}
    values["b"][NORM] = np.zeros_like(values["a"][NORM])

    def row(name):
        return {"a": 1.0, "b": 0.0} if name == NORM else {"a": 0.5, "b": 0.5}

    assert NORM in formulas.read(done.path())
    assert formulas.differing(done.path(), values, row, copied_from="a") == []


def write_lora(path, *modules):
    tensors = {}
    for module in modules:
        tensors[f"{module}.lora_up.weight"] = np.ones((10, 2), "<f2")
        tensors[f"{module}.lora_down.weight"] = np.ones((2, 10), "<f2")
    safetensors.numpy.save_file(tensors, path)
    return path


def test_model_is_no_lora_and_lora_is_no_model(refused, models, here):
    style = write_lora(here / "style.safetensors", "lora_unet_mid_block")

    as_lora = refused("a + lora(b)", f"-ia={models['a']}", f"-ib={models['b']}")
    as_model = refused(HALF, f"-ia={models['a']}", f"-ib={style}")

    assert (as_model.exit_code, as_model.code) == (4, "lora-as-model")
    assert as_model.message == f"{style}: is a LoRA; expected a model for b"
    assert as_model.hint == "write lora(b)"
    assert (as_lora.exit_code, as_lora.code) == (4, "model-as-lora")
    assert as_lora.message.startswith(f"{models['b']}: is a whole checkpoint")
    assert as_lora.hint == "a model is named without lora(): b"


LORA_SETTINGS = ('copy_from = "s"', 'vae = "s"', 'missing = "keep:s"')


@pytest.mark.parametrize("setting", LORA_SETTINGS)
def test_lora_cannot_stand_for_a_model_in_a_setting(refused, models, here, setting):
    style = write_lora(here / "style.safetensors", "lora_unet_input_blocks_4_1_proj_in")
    (here / "mine.toml").write_text(
        f"[recipe]\nschema = 1\n{setting}\n[ingredients]\n"
        f'a = {{ file = "{models["a"]}" }}\ns = {{ file = "{style}" }}\n'
        '[steps]\nend = "a + lora(s)"\n[output]\nfrom = "end"\n'
    )

    found = refused("--recipe=mine.toml")

    assert (found.exit_code, found.code) == (3, "lora-use")
    assert "s is a LoRA, expected a model" in found.message


def test_keys_of_a_lora_that_match_nothing_are_named(refused, models, here):
    style = write_lora(
        here / "style.safetensors",
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q",
        "lora_unet_input_blocks_4_1_transformer_blocks_9_attn1_to_q",
    )

    found = refused("a + lora(s)", f"-ia={models['a']}", f"-is={style}")

    assert (found.exit_code, found.code) == (4, "lora-names")
    assert "transformer_blocks_9_attn1_to_q" in found.message
    assert "transformer_blocks_0" not in found.message


def test_folder_and_text_are_no_ingredients(refused, models, here):
    Path("empty").mkdir()
    Path("text.safetensors").write_text("hello, this is no checkpoint")

    folder = refused(HALF, f"-ia={models['a']}", "-ib=empty")
    text = refused(HALF, f"-ia={models['a']}", "-ib=text.safetensors")

    assert folder.exit_code == text.exit_code == 4
    assert folder.message.startswith("empty: ")
    assert text.message.startswith("text.safetensors: ")


def test_an_expression_has_no_name_among_those_that_are_known():
    recipe = recipe_of_expression("0.5*zzz + b", {"a": Origin(), "b": Origin()})

    with pytest.raises(RecipeError) as refused:
        fold(recipe)

    assert refused.value.hint == "known: a, b"
