import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from release.architecture.sdxl import sdxl_tensors
from release.errors import RecipeError
from release.recipe.cells import part_of
from release.recipe.conventions import CONVENTIONS
from release.recipe.decimals import decimal_text
from release.recipe.fold import fold
from release.recipe.graph import names_in
from release.recipe.rows import FoldedRecipe
from release.recipe.text import Origin, recipe_of_expression
from release.recipe.weights import WEIGHT_BLOCKS

Fold = Callable[..., FoldedRecipe]
Refused = Callable[..., RecipeError]
ONES = ",".join(["1"] * 20)
ZEROS = ",".join(["0"] * 20)
EVERY_BLOCK = (*WEIGHT_BLOCKS, "KEEP")


def weight_groups(recipe: FoldedRecipe) -> dict[str, tuple[int, int]]:
    tensors: Counter[str] = Counter()
    parameters: Counter[str] = Counter()
    for entry in sdxl_tensors():
        weight = decimal_text(1 + recipe.row(entry.name)["anxl2"])
        tensors[weight] += 1
        parameters[weight] += math.prod(entry.shape)
    return {weight: (tensors[weight], parameters[weight]) for weight in tensors}


def test_rev1_has_one_row_for_every_block(folded: Fold) -> None:
    recipe = folded(
        "beta7 + 0.8*(anxl3 - anxl2) + 0.5*(base7 - beta7)",
        ("beta7", "anxl3", "anxl2", "base7"),
    )
    row = {"anxl2": "-0.8", "anxl3": "0.8", "base7": "0.5", "beta7": "0.5"}
    assert recipe.decimal_rows() == dict.fromkeys(EVERY_BLOCK, row)


@pytest.mark.parametrize(
    ("block", "beta7", "anxl2", "base8"),
    [
        ("BASE", "0.75", "-1", "0.25"),
        ("KEEP", "0.75", "-1", "0.25"),
        ("M00", "0.75", "-1", "0.25"),
        ("IN02", "0.75", "-1", "0.25"),
        ("OUT02", "0.75", "-1", "0.25"),
        ("IN00", "0.675", "-0.9", "0.225"),
        ("IN07", "0.675", "-0.9", "0.225"),
        ("OUT03", "0.7125", "-0.95", "0.2375"),
        ("OUT08", "0.7125", "-0.95", "0.2375"),
    ],
)
def test_rev2_rows_are_exact(
    gamma: Fold, block: str, beta7: str, anxl2: str, base8: str
) -> None:
    expected = {"anxl2": anxl2, "anxl3": "1", "base8": base8, "beta7": beta7}
    assert gamma().decimal_rows()[block] == expected


def test_rev2_under_supermerger_has_the_known_groups(gamma: Fold) -> None:
    assert weight_groups(gamma()) == {
        "0": (1999, 2_934_323_061),
        "0.1": (300, 416_987_200),
        "0.05": (216, 117_527_684),
    }


@pytest.mark.parametrize(
    ("convention", "n_tensors", "n_parameters"),
    [
        ("sd-mecha", 8, 7_296_000),
        ("chattiori", 8, 7_296_000),
        ("sdnext", 354, 462_812_480),
    ],
)
def test_other_conventions_change_the_known_tensors(
    gamma: Fold, convention: str, n_tensors: int, n_parameters: int
) -> None:
    one, other = gamma(), gamma(convention=convention)
    differing = [
        entry
        for entry in sdxl_tensors()
        if one.row(entry.name) != other.row(entry.name)
    ]
    assert len(differing) == n_tensors
    assert sum(math.prod(entry.shape) for entry in differing) == n_parameters


def test_sd_mecha_and_chattiori_change_the_embeddings_of_time_and_label(
    gamma: Fold,
) -> None:
    one, other = gamma(), gamma(convention="chattiori")
    assert {
        part_of(entry.name).value
        for entry in sdxl_tensors()
        if one.row(entry.name) != other.row(entry.name)
    } == {"time_embed", "label_emb"}


@pytest.mark.parametrize(
    ("convention", "extra"),
    [("supermerger", "KEEP"), ("sd-mecha", "VAE"), ("chattiori", "KEEP")],
)
def test_block_that_no_list_reaches_stays_at_the_first_operand(
    folded: Fold, convention: str, extra: str
) -> None:
    rows = folded(f"mbw(a, b, '{ONES}')", "ab", convention=convention).decimal_rows()
    assert rows.pop(extra) == {"a": "1"}
    assert rows == {block: {"b": "1"} for block in WEIGHT_BLOCKS}


def test_sdnext_has_a_weight_for_every_tensor(folded: Fold) -> None:
    rows = folded(f"mbw(a, b, '{ONES}')", "ab", convention="sdnext").decimal_rows()
    assert rows == {block: {"b": "1"} for block in WEIGHT_BLOCKS}


def test_named_part_has_its_own_row(folded: Fold) -> None:
    text = f"mbw(a, b, '{ZEROS}; time_embed=0.25, vae=1')"
    rows = folded(text, "ab").decimal_rows()
    assert rows["IN00/time_embed"] == {"a": "0.75", "b": "0.25"}
    assert rows["IN00/label_emb"] == rows["IN00/unet"] == {"a": "1"}
    assert rows["BASE/vae"] == {"b": "1"}
    assert rows["IN01"] == {"a": "1"}
    assert "IN00" not in rows


def test_21_weights_are_sd_mechas(folded: Fold, refused: Refused) -> None:
    text = f"mbw(a, b, '{ZEROS},1')"
    rows = folded(text, "ab", convention="sd-mecha").decimal_rows()
    assert (rows["VAE"], rows["BASE"]) == ({"b": "1"}, {"a": "1"})
    error = refused(text, "ab")
    assert error.code == "block-weights"
    assert "got 21 block weights; supermerger takes 20 or 26" in str(error)
    assert "the last is probably VAE" in error.hint


def test_26_weights_are_supermergers_and_it_is_said(
    folded: Fold, refused: Refused
) -> None:
    text = ",".join(["0.5"] * 10 + ["0.7"] * 3 + ["0.5"] * 10 + ["0.9"] * 3)
    recipe = folded(f"mbw(a, b, '{text}')", "ab")
    assert recipe.decimal_rows()["M00"] == {"a": "0.5", "b": "0.5"}
    (warning,) = recipe.warnings
    assert warning.startswith("expression: the list of 26 block weights is one for SD1")
    assert warning.endswith(
        "IN09=0.7, IN10=0.7, IN11=0.7, OUT09=0.9, OUT10=0.9, OUT11=0.9"
    )
    for convention in ("sd-mecha", "chattiori", "sdnext"):
        error = refused(f"mbw(a, b, '{text}')", "ab", convention=convention)
        assert f"got 26 block weights; {convention} takes 20" in str(error)


def test_weight_of_the_block_vae_is_sd_mechas(folded: Fold, refused: Refused) -> None:
    text = "mbw(a, b, '0, VAE=1')"
    assert folded(text, "ab", convention="sd-mecha").decimal_rows()["VAE"] == {"b": "1"}
    error = refused(text, "ab")
    assert "a weight of the block VAE, which supermerger does not have" in str(error)
    assert "vae=0.1" in error.hint


def test_only_is_zero_elsewhere(folded: Fold) -> None:
    rows = folded("a + only(b - a, unet, clip_l)", "ab").decimal_rows()
    assert {label for label, row in rows.items() if row == {"b": "1"}} == {
        "BASE/clip_l",
        *(block for block in WEIGHT_BLOCKS if block != "BASE"),
        "KEEP/clip_l",
        "KEEP/unet",
        "KEEP/time_embed",
        "KEEP/label_emb",
        "KEEP/out",
    }
    assert rows["BASE/vae"] == rows["BASE/clip_g"] == {"a": "1"}


def test_only_takes_blocks(folded: Fold) -> None:
    rows = folded("a + only(b - a, OUT03)", "ab").decimal_rows()
    assert [label for label, row in rows.items() if "b" in row] == ["OUT03"]


def test_copied_vae_is_its_cells_row(folded: Fold) -> None:
    recipe = folded("0.5*a + 0.5*b", "abv", vae="v", copy_from="a")
    rows = recipe.decimal_rows()
    assert rows["BASE/vae"] == rows["KEEP/vae"] == {"v": "1"}
    assert rows["BASE/clip_g"] == {"a": "0.5", "b": "0.5"}
    assert recipe.ingredients == ("a", "b", "v")


def test_needed_ingredients_are_sorted_and_include_copies(folded: Fold) -> None:
    recipe = folded("0.5*b + 0.5*a", "abck", copy_from="c", missing="keep:k")
    assert recipe.ingredients == ("a", "b")
    assert recipe.needed == ("a", "b", "c", "k")
    assert recipe.keep == "k"


@pytest.mark.parametrize(
    ("steps", "output", "base"),
    [
        ({"s": "b + (a - c)"}, "s", "b"),
        ({"s": "0.5*t + 0.5*b", "t": "a + (c - b)"}, "s", "a"),
        ({"s": "lora(b) + c + (a - a)"}, "s", "c"),
        ({"s": "mbw(slerp(c, a, 1), b, '0, IN00=1')"}, "s", "c"),
    ],
)
def test_copies_come_from_the_first_model_unless_it_is_said(
    folded: Fold, steps: dict[str, str], output: str, base: str
) -> None:
    assert folded(steps, output=output).copy_from == base


def test_lora_adds_and_does_not_count_in_the_sum(folded: Fold) -> None:
    recipe = folded("a + 0.6*lora(b) + only(0.2*lora(c), unet)")
    assert recipe.loras == ("b", "c")
    assert recipe.decimal_rows()["M00"] == {"a": "1", "b": "0.6", "c": "0.2"}
    assert recipe.warnings == ()


def test_output_may_be_an_ingredient(folded: Fold) -> None:
    recipe = folded({}, "a", "a", convention="sd-mecha")
    assert recipe.ingredients == ("a",)
    assert recipe.row("anything") == {"a": 1}


def test_ingredient_that_cancels_out_is_no_ingredient_but_is_said(folded: Fold) -> None:
    recipe = folded("a + b - b", "ab")
    assert recipe.ingredients == ("a",)
    assert recipe.warnings == ("b cancels out",)


def test_forgotten_subtrahend_is_warned_about_by_block(folded: Fold) -> None:
    (warning,) = folded("mbw(a, a + b, '0, OUT08=1')", "ab").warnings
    assert warning.startswith("coefficients sum to 2, not 1, in OUT08:")


def test_scale_that_is_wrong_everywhere_is_said_once(folded: Fold) -> None:
    (warning,) = folded("a + 0.5*b", "ab").warnings
    assert warning.startswith("coefficients sum to 1.5, not 1, in every block:")


def test_part_that_is_left_out_is_warned_about(folded: Fold) -> None:
    (warning,) = folded("only(a, unet, clip_l, clip_g, other)", "a").warnings
    assert warning.startswith("coefficients sum to 0, not 1, in BASE/vae, KEEP/vae:")


def test_cells_with_nothing_but_loras_are_not_warned_about(folded: Fold) -> None:
    text = "only(a, clip_l, clip_g, vae, other) + only(lora(b), unet)"
    assert folded(text, "ab").warnings == ()


def test_sound_recipe_has_no_warning(gamma: Fold) -> None:
    assert gamma().warnings == ()


@pytest.mark.parametrize(
    ("steps", "output", "code", "words"),
    [
        ({"s": "a * b"}, "s", "recipe-not-linear", "column 5: got a product of two"),
        ({"s": "a + b + 1"}, "s", "recipe-not-linear", "column 9: got a number added"),
        (
            {"s": "2", "t": "a + b + s"},
            "t",
            "recipe-not-linear",
            "column 1: got a number, expected a",
        ),
        ({"s": "lerp(a, b, a)"}, "s", "recipe-not-linear", "column 12: got a model"),
        ({"s": "lerp(a, 1, b)"}, "s", "recipe-not-linear", "column 12: got a model"),
        ({"s": "b + lerp(a, 1, 1)"}, "s", "recipe-not-linear", "column 13: got a numb"),
        ({"s": "a + bb"}, "s", "unknown-name", "recipe.steps.s: column 5: unknown"),
        ({"s": "a + b"}, "t", "unknown-name", "recipe.output: unknown name 't'"),
        ({"s": "a"}, "s", "unused-ingredient", "ingredients: not needed for 's': b"),
        ({"s": "a", "t": "b"}, "s", "unused-step", "recipe.steps: not needed"),
        ({"s": "t + a", "t": "s + b"}, "s", "recipe-cycle", "in a circle"),
        ({"s": "s + a + b"}, "s", "recipe-cycle", "s -> s"),
        ({"a": "b"}, "a", "duplicate-name", "the name a is already"),
        ({"mbw": "a + b"}, "mbw", "duplicate-name", "the name mbw is already"),
        ({"s": "0*a + 0*b"}, "s", "recipe-empty", "every coefficient is 0"),
        ({"s": "a + 9999*9999*b"}, "s", "recipe-coefficient", "coefficient of b"),
        ({"s": "a" + "*0.1" * 61 + "+b"}, "s", "recipe-coefficient", "60 decimals"),
        ({"s": "slerp(99999*99999*a, b, 1)"}, "s", "recipe-coefficient", "1,000,000"),
        ({"only": "a + b"}, "only", "duplicate-name", "the name only is already"),
        ({"s": "a + only(b, unett)"}, "s", "unknown-target", "column 13: unknown part"),
        ({"s": "a + only(b, VAE)"}, "s", "unknown-target", "column 13: unknown part"),
        (
            {"s": "a + b + only(2, vae)"},
            "s",
            "recipe-not-linear",
            "column 14: got a num",
        ),
        (
            {"s": "slerp(a, 2, 1) + b"},
            "s",
            "recipe-not-linear",
            "column 10: got a numb",
        ),
        ({"s": "a + lora(a) + b"}, "s", "lora-use", "column 1: a is a LoRA elsewhere"),
        ({"s": "t + lora(t)", "t": "a + b"}, "s", "lora-use", "column 5: t is a step"),
        ({"s": "lora(a) + lora(b)"}, "s", "recipe-empty", "names no model, only LoRAs"),
        ({"s": "slerp(a, b - a, 1)"}, "s", "method-argument", "column 10: model 2"),
        (
            {"s": "slerp(a, lora(b), 1)"},
            "s",
            "method-argument",
            "column 10: model 2 of",
        ),
        ({"s": "dare(a + b, b, 1, 1)"}, "s", "method-argument", "sum to 2, not 1"),
        (
            {"s": "ties(a, only(b, unet), density=1)"},
            "s",
            "method-argument",
            "BASE/clip_l",
        ),
    ],
)
def test_recipe_that_makes_no_sense_is_refused(
    refused: Refused, steps: dict[str, str], output: str, code: str, words: str
) -> None:
    error = refused(steps, "ab", output)
    assert error.code == code
    assert words in str(error)


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        (
            {"copy_from": "aa"},
            "unknown-name",
            "recipe.copy_from: unknown ingredient 'a",
        ),
        (
            {"vae": "x"},
            "unknown-name",
            "recipe.vae: unknown ingredient 'x'; known: a, b",
        ),
        (
            {"missing": "keep:x"},
            "unknown-name",
            "recipe.missing: unknown ingredient 'x'",
        ),
        ({"missing": "keep:"}, "recipe-missing", "got 'keep:', expected error or keep"),
        ({"missing": "drop"}, "recipe-missing", "got 'drop'"),
        ({"copy_from": "c"}, "lora-use", "recipe.copy_from: c is a LoRA"),
        ({"vae": "c"}, "lora-use", "recipe.vae: c is a LoRA"),
        ({"missing": "keep:c"}, "lora-use", "recipe.missing: c is a LoRA"),
        ({"convention": "sdmecha"}, "unknown-convention", "'sdmecha'"),
    ],
)
def test_wrong_setting_is_refused(
    refused: Refused, settings: dict[str, str], code: str, words: str
) -> None:
    error = refused("a + b + lora(c)", "abc", **settings)
    assert error.code == code
    assert words in str(error)


def test_ingredient_named_like_the_merged_vae_is_refused(refused: Refused) -> None:
    error = refused("a + merge", ("a", "merge"))
    assert "ingredients.merge: this name means the merged VAE" in str(error)


def test_near_name_is_suggested(refused: Refused) -> None:
    error = refused("beta7 + anx13", ("beta7", "anxl3"))
    assert error.hint == "did you mean anxl3?"


def test_ingredient_that_is_only_copied_from_is_used(folded: Fold) -> None:
    assert folded("a", "ac", copy_from="c").ingredients == ("a",)


def test_too_many_steps_are_refused(refused: Refused) -> None:
    steps = {f"s{index}": "a" for index in range(101)}
    assert refused(steps, "a", "s0").code == "too-many-steps"


def test_too_many_methods_are_refused_at_the_one_too_many(refused: Refused) -> None:
    calls = "+".join(["slerp(a, b, 1)"] * 60)
    error = refused({"s": calls, "t": f"s + {calls}"}, "ab", "t")
    assert error.code == "too-many-methods"
    assert "recipe.steps.t: column" in str(error)


def test_hundred_steps_over_one_another_are_folded(folded: Fold) -> None:
    steps = {f"s{index}": f"0.5 * s{index - 1} + 0.5*a" for index in range(1, 100)}
    assert folded({**steps, "s0": "a"}, "a", "s99").row("x") == {"a": 1}


def test_steps_that_square_a_number_cannot_grow(refused: Refused) -> None:
    steps = {"s0": "99999 * a", "s1": "99999 * s0", "s2": "99999 * s1"}
    assert refused(steps, "a", "s2").code == "recipe-coefficient"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Fraction(0), "0"),
        (Fraction(-1), "-1"),
        (Fraction(27, 40), "0.675"),
        (Fraction(-1, 8), "-0.125"),
        (Fraction(12345, 10), "1234.5"),
        (Fraction(1, 10**60), "0." + "0" * 59 + "1"),
    ],
)
def test_coefficients_are_written_as_exact_decimals(value: Fraction, text: str) -> None:
    assert decimal_text(value) == text
    assert Fraction(text) == value


def test_number_without_a_decimal_form_is_not_rounded() -> None:
    with pytest.raises(ValueError, match="no decimal form"):
        decimal_text(Fraction(1, 3))


# An independent evaluator: models are numbers here, and each random expression is built
# together with the function that computes it for a tensor.
@dataclass(frozen=True)
class Built:
    text: str
    value: Callable[[dict[str, Any], str], Fraction]


NAMES = (
    "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight",
    "conditioner.embedders.1.model.ln_final.bias",
    "conditioner.embedders.1.model.positional_embedding",
    "first_stage_model.decoder.conv_in.weight",
    "model.diffusion_model.time_embed.0.weight",
    "model.diffusion_model.label_emb.0.0.bias",
    "model.diffusion_model.input_blocks.0.0.weight",
    "model.diffusion_model.input_blocks.8.0.in_layers.0.weight",
    "model.diffusion_model.middle_block.0.in_layers.0.weight",
    "model.diffusion_model.output_blocks.3.0.in_layers.0.weight",
    "model.diffusion_model.out.0.weight",
)
PREFIXES = {
    "clip_l": "conditioner.embedders.0.",
    "clip_g": "conditioner.embedders.1.",
    "vae": "first_stage_model.",
    "unet": "model.diffusion_model.",
    "time_embed": "model.diffusion_model.time_embed.",
    "out": "model.diffusion_model.out.",
}
# Which of the 20 numbers a tensor of NAMES gets, read off the tools' own maps.
PLACES = {
    "supermerger": (0, 0, None, 0, 1, 1, 1, 9, 10, 14, 19),
    "sd-mecha": (0, 0, 0, None, 0, 0, 1, 9, 10, 14, 19),
    "chattiori": (0, 0, None, None, None, None, 1, 9, 10, 14, 19),
    "sdnext": (0, 0, 0, 0, 0, 19, 0, 8, 9, 13, 18),
}


def _decimal(value: int) -> str:
    sign = "-" if value < 0 else ""
    return f"{sign}{abs(value) // 100}.{abs(value) % 100:02}"


NUMBERS = st.integers(-300, 300)
LEAVES = st.sampled_from("abc").map(lambda n: Built(n, lambda env, _: env[n]))


def _scaled(pair: tuple[int, Built]) -> Built:
    number, model = pair
    text = f"{_decimal(number)} * ({model.text})"
    return Built(text, lambda env, t: Fraction(number, 100) * model.value(env, t))


def _added(pair: tuple[Built, Built]) -> Built:
    x, y = pair
    text = f"{x.text}+({y.text})"
    return Built(text, lambda env, t: x.value(env, t) + y.value(env, t))


def _subtracted(pair: tuple[Built, Built]) -> Built:
    x, y = pair
    text = f"({x.text}) - ({y.text})"
    return Built(text, lambda env, t: x.value(env, t) - y.value(env, t))


def _lerped(parts: tuple[Built, Built, int]) -> Built:
    x, y, number = parts
    w = Fraction(number, 100)
    text = f"lerp({x.text}, {y.text}, {_decimal(number)})"
    return Built(text, lambda env, t: x.value(env, t) * (1 - w) + y.value(env, t) * w)


def _restricted(parts: tuple[Built, list[str]]) -> Built:
    x, targets = parts
    text = f"only({x.text}, {', '.join(targets)})"

    def value(env: dict[str, Any], tensor: str) -> Fraction:
        inside = any(tensor.startswith(PREFIXES[target]) for target in targets)
        return x.value(env, tensor) if inside else Fraction(0)

    return Built(text, value)


def _block_merged(parts: tuple[Built, Built, list[int], dict[str, int]]) -> Built:
    x, y, numbers, named = parts
    pairs = "".join(f"; {k}={_decimal(v)}" for k, v in list(named.items())[:1])
    pairs += "".join(f", {k}={_decimal(v)}" for k, v in list(named.items())[1:])
    text = f"mbw({x.text}, {y.text}, '{','.join(map(_decimal, numbers))}{pairs}')"

    def value(env: dict[str, Any], tensor: str) -> Fraction:
        place = PLACES[env["convention"]][NAMES.index(tensor)]
        weight = 0 if place is None else numbers[place]
        for part, number in named.items():
            if tensor.startswith(PREFIXES[part]):
                weight = number
        w = Fraction(weight, 100)
        return x.value(env, tensor) * (1 - w) + y.value(env, tensor) * w

    return Built(text, value)


def _grown(inner: st.SearchStrategy[Built]) -> st.SearchStrategy[Built]:
    lists = st.lists(NUMBERS, min_size=20, max_size=20)
    targets = st.lists(
        st.sampled_from(list(PREFIXES)), min_size=1, max_size=3, unique=True
    )
    named = st.dictionaries(
        st.sampled_from([part for part in PREFIXES if part != "unet"]),
        NUMBERS,
        max_size=3,
    )
    return st.one_of(
        st.tuples(NUMBERS, inner).map(_scaled),
        st.tuples(inner, inner).map(_added),
        st.tuples(inner, inner).map(_subtracted),
        st.tuples(inner, inner, NUMBERS).map(_lerped),
        st.tuples(inner, targets).map(_restricted),
        st.tuples(inner, inner, lists, named).map(_block_merged),
    )


BUILT = st.recursive(LEAVES, _grown, max_leaves=5)
VALUES = st.fractions(min_value=-5, max_value=5, max_denominator=64)


@settings(max_examples=120, deadline=None)
@given(
    built=BUILT,
    a=VALUES,
    b=VALUES,
    c=VALUES,
    convention=st.sampled_from([*CONVENTIONS]),
)
def test_folded_rows_equal_the_expression_evaluated_for_each_tensor(
    built: Built, a: Fraction, b: Fraction, c: Fraction, convention: str
) -> None:
    env: dict[str, Any] = {"a": a, "b": b, "c": c, "convention": convention}
    # The anchor's coefficient is 1, so the recipe cannot come out empty.
    text = recipe_of_expression(
        f"{built.text} + anchor",
        {name: Origin() for name in ("anchor", *names_in(built.text))},
        convention=convention,
    )
    recipe = fold(text)
    for name in NAMES:
        row = dict(recipe.row(name))
        assert row.pop("anchor") == 1
        total = sum((env[key] * value for key, value in row.items()), Fraction(0))
        assert total == built.value(env, name)
