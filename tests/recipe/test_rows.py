import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import pytest
from cryptography.hazmat.primitives import hashes
from hypothesis import given, settings
from hypothesis import strategies as st

from release.architecture.sdxl import sdxl_tensors
from release.errors import RecipeError
from release.recipe.form import decimal_text
from release.recipe.rows import LinearRecipe, fold
from release.recipe.weights import WEIGHT_BLOCKS

MBW = "0,0.1,0.1,0,0.1,0.1,0,0.1,0.1,0,0,0,0,0,0.05,0.05,0.05,0.05,0.05,0.05"
GAMMA = "beta7 + 1.0*(anxl3 - anxl2) + 0.25*(base8 - beta7)"
REV2 = {"gamma": GAMMA, "rev2": f"mbw(gamma, anxl3, '{MBW}')"}
INGREDIENTS = ("beta7", "anxl3", "anxl2", "base8")


def rev2(convention: str = "supermerger") -> LinearRecipe:
    return fold(REV2, "rev2", convention=convention, ingredient_names=INGREDIENTS)


def fold_one(expression: str, *names: str) -> LinearRecipe:
    return fold(
        {"s": expression}, "s", convention="supermerger", ingredient_names=names
    )


def refused(steps: dict[str, str], output: str, *names: str) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        fold(steps, output, convention="supermerger", ingredient_names=names)
    assert "\n" not in str(caught.value)
    return caught.value


def weight_groups(recipe: LinearRecipe) -> dict[str, tuple[int, int]]:
    tensors: Counter[str] = Counter()
    parameters: Counter[str] = Counter()
    subtrahend = recipe.ingredients.index("anxl2")
    for entry in sdxl_tensors():
        weight = decimal_text(1 + recipe.coefficients(entry.name)[subtrahend])
        tensors[weight] += 1
        parameters[weight] += math.prod(entry.shape)
    return {weight: (tensors[weight], parameters[weight]) for weight in tensors}


def test_rev1_has_one_row_for_every_block() -> None:
    recipe = fold_one(
        "beta7 + 0.8*(anxl3 - anxl2) + 0.5*(base7 - beta7)",
        "beta7",
        "anxl3",
        "anxl2",
        "base7",
    )
    row = {"anxl2": "-0.8", "anxl3": "0.8", "base7": "0.5", "beta7": "0.5"}
    assert recipe.decimal_rows() == dict.fromkeys([*WEIGHT_BLOCKS, "KEEP"], row)


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
def test_rev2_rows_are_exact(block: str, beta7: str, anxl2: str, base8: str) -> None:
    expected = {"anxl2": anxl2, "anxl3": "1", "base8": base8, "beta7": beta7}
    assert rev2().decimal_rows()[block] == expected


def test_rev2_under_supermerger_has_the_known_groups() -> None:
    assert weight_groups(rev2()) == {
        "0": (1999, 2_934_323_061),
        "0.1": (300, 416_987_200),
        "0.05": (216, 117_527_684),
    }


def test_sd_mecha_changes_exactly_the_time_and_label_embeddings() -> None:
    one, other = rev2(), rev2("sd-mecha")
    differing = [
        entry
        for entry in sdxl_tensors()
        if one.coefficients(entry.name) != other.coefficients(entry.name)
    ]
    assert len(differing) == 8
    assert sum(math.prod(entry.shape) for entry in differing) == 7_296_000
    assert {entry.name.split(".")[2] for entry in differing} == {
        "time_embed",
        "label_emb",
    }


@pytest.mark.parametrize(
    ("convention", "extra"), [("supermerger", "KEEP"), ("sd-mecha", "VAE")]
)
def test_block_that_no_list_reaches_stays_at_the_first_operand(
    convention: str, extra: str
) -> None:
    ones = ",".join(["1"] * 20)
    recipe = fold(
        {"s": f"mbw(a, b, '{ones}')"},
        "s",
        convention=convention,
        ingredient_names=("a", "b"),
    )
    rows = recipe.decimal_rows()
    assert rows.pop(extra) == {"a": "1", "b": "0"}
    assert rows == {block: {"a": "0", "b": "1"} for block in WEIGHT_BLOCKS}


def test_canonical_text_and_its_digest_are_stable() -> None:
    recipe = rev2()
    text = recipe.canonical(copy_from="beta7", vae="merge")
    digest = hashes.Hash(hashes.SHA256())
    digest.update(text.encode())
    sha256 = recipe.sha256(copy_from="beta7", vae="merge")
    assert sha256 == digest.finalize().hex()
    assert sha256 == "e53ed1f24ce46bbb1a88f642ca83f10477ab476467cefdcc63f0316dc1184cf4"


def test_canonical_text_is_compact_sorted_ascii_json() -> None:
    text = rev2().canonical(copy_from="beta7", vae="anxl3")
    document = json.loads(text)
    again = json.dumps(document, sort_keys=True, separators=(",", ":"))
    assert text == again
    assert text.isascii()
    assert document.keys() == {"schema", "convention", "copy_from", "rows", "vae"}
    assert (document["copy_from"], document["vae"]) == ("beta7", "anxl3")


@pytest.mark.parametrize(
    "gamma",
    [
        f"{GAMMA} + 0",
        f"({GAMMA})",
        "beta7+(anxl3-anxl2)+0.250*(base8-beta7)",
        "0.25*base8 - anxl2 + anxl3 + 0.75*beta7",
        "(anxl3 - anxl2)*1 + lerp(beta7, base8, 0.25)",
        "-(anxl2 - anxl3) + 0.5*0.5*base8 + (1 - .25)*beta7 + 1 - 1",
        " --beta7 - anxl2 + anxl3 + (base8 - beta7) * 0.25 + 0 * base8",
    ],
)
def test_spelling_does_not_change_the_identity(gamma: str) -> None:
    steps = {"out": f"mbw( g, anxl3, '{MBW.replace(',', ' , ')}' )", "g": gamma}
    recipe = fold(
        steps,
        "out",
        convention="supermerger",
        ingredient_names=reversed_names(),
    )
    names = {"copy_from": "beta7", "vae": "merge"}
    assert recipe.canonical(**names) == rev2().canonical(**names)


def reversed_names() -> tuple[str, ...]:
    return tuple(reversed(INGREDIENTS))


@pytest.mark.parametrize(
    "change",
    [
        lambda: rev2("sd-mecha").sha256(copy_from="beta7", vae="merge"),
        lambda: rev2().sha256(copy_from="anxl3", vae="merge"),
        lambda: rev2().sha256(copy_from="beta7", vae="beta7"),
        lambda: fold(
            {**REV2, "gamma": GAMMA.replace("0.25", "0.26")},
            "rev2",
            convention="supermerger",
            ingredient_names=INGREDIENTS,
        ).sha256(copy_from="beta7", vae="merge"),
    ],
)
def test_whatever_changes_the_result_changes_the_identity(
    change: Callable[[], str],
) -> None:
    assert change() != rev2().sha256(copy_from="beta7", vae="merge")


def test_output_may_be_an_ingredient() -> None:
    recipe = fold({}, "a", convention="sd-mecha", ingredient_names=["a"])
    assert recipe.ingredients == ("a",)
    assert recipe.coefficients("anything") == (1,)


def test_ingredient_that_cancels_out_is_no_ingredient_but_is_said() -> None:
    recipe = fold_one("a + b - b", "a", "b")
    assert recipe.ingredients == ("a",)
    assert recipe.warnings == ("b cancels out",)


def test_forgotten_subtrahend_is_warned_about_by_block() -> None:
    weights = ",".join(["0"] * 19 + ["1"])
    recipe = fold_one(f"mbw(a, a + b, '{weights}')", "a", "b")
    (warning,) = recipe.warnings
    assert warning.startswith("coefficients sum to 2, not 1, in OUT08:")


def test_scale_that_is_wrong_everywhere_is_said_once() -> None:
    (warning,) = fold_one("a + 0.5*b", "a", "b").warnings
    assert warning.startswith("coefficients sum to 1.5, not 1, in every block:")


def test_sound_recipe_has_no_warning() -> None:
    assert rev2().warnings == ()


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
    ],
)
def test_recipe_that_makes_no_sense_is_refused(
    steps: dict[str, str], output: str, code: str, words: str
) -> None:
    error = refused(steps, output, "a", "b")
    assert error.code == code
    assert words in str(error)
    assert error.hint


def test_near_name_is_suggested() -> None:
    error = refused({"s": "beta7 + anx13"}, "s", "beta7", "anxl3")
    assert error.hint == "did you mean anxl3?"


def test_ingredient_that_is_only_copied_from_is_used() -> None:
    recipe = fold(
        {"s": "a"},
        "s",
        convention="supermerger",
        ingredient_names=("a", "vae"),
        copied_from={"vae", "merge"},
    )
    assert recipe.ingredients == ("a",)


def test_too_many_steps_are_refused() -> None:
    steps = {f"s{index}": "a" for index in range(101)}
    assert refused(steps, "s0", "a").code == "too-many-steps"


def test_hundred_steps_over_one_another_are_folded() -> None:
    steps = {f"s{index}": f"0.5 * s{index - 1} + 0.5*a" for index in range(1, 100)}
    recipe = fold(
        {**steps, "s0": "a"}, "s99", convention="supermerger", ingredient_names=["a"]
    )
    assert recipe.coefficients("x") == (1,)


def test_steps_that_square_a_number_cannot_grow() -> None:
    steps = {"s0": "99999 * a", "s1": "99999 * s0", "s2": "99999 * s1"}
    assert refused(steps, "s2", "a").code == "recipe-coefficient"


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
# together with the function that computes it.
@dataclass(frozen=True)
class Built:
    text: str
    value: Callable[[dict[str, Fraction], int], Fraction]


def _decimal(value: int) -> str:
    sign = "-" if value < 0 else ""
    return f"{sign}{abs(value) // 100}.{abs(value) % 100:02}"


NUMBERS = st.integers(-300, 300)
LEAVES = st.sampled_from("abc").map(lambda n: Built(n, lambda env, _: env[n]))


def _scaled(pair: tuple[int, Built]) -> Built:
    number, model = pair
    text = f"{_decimal(number)} * ({model.text})"
    return Built(text, lambda env, b: Fraction(number, 100) * model.value(env, b))


def _added(pair: tuple[Built, Built]) -> Built:
    x, y = pair
    text = f"{x.text}+({y.text})"
    return Built(text, lambda env, b: x.value(env, b) + y.value(env, b))


def _subtracted(pair: tuple[Built, Built]) -> Built:
    x, y = pair
    text = f"({x.text}) - ({y.text})"
    return Built(text, lambda env, b: x.value(env, b) - y.value(env, b))


def _lerped(parts: tuple[Built, Built, int]) -> Built:
    x, y, number = parts
    t = Fraction(number, 100)
    text = f"lerp({x.text}, {y.text}, {_decimal(number)})"
    return Built(text, lambda env, b: x.value(env, b) * (1 - t) + y.value(env, b) * t)


def _block_merged(parts: tuple[Built, Built, list[int]]) -> Built:
    x, y, numbers = parts
    weights = [Fraction(number, 100) for number in numbers]
    text = f"mbw({x.text}, {y.text}, '{','.join(map(_decimal, numbers))}')"

    def value(env: dict[str, Fraction], block: int) -> Fraction:
        w = weights[block]
        return x.value(env, block) * (1 - w) + y.value(env, block) * w

    return Built(text, value)


def _grown(inner: st.SearchStrategy[Built]) -> st.SearchStrategy[Built]:
    lists = st.lists(NUMBERS, min_size=20, max_size=20)
    return st.one_of(
        st.tuples(NUMBERS, inner).map(_scaled),
        st.tuples(inner, inner).map(_added),
        st.tuples(inner, inner).map(_subtracted),
        st.tuples(inner, inner, NUMBERS).map(_lerped),
        st.tuples(inner, inner, lists).map(_block_merged),
    )


BUILT = st.recursive(LEAVES, _grown, max_leaves=5)
VALUES = st.fractions(min_value=-5, max_value=5, max_denominator=64)


@settings(max_examples=150, deadline=None)
@given(built=BUILT, a=VALUES, b=VALUES, c=VALUES)
def test_folded_rows_equal_the_expression_evaluated(
    built: Built, a: Fraction, b: Fraction, c: Fraction
) -> None:
    env = {"a": a, "b": b, "c": c}
    # The anchor's coefficient is 1, so the recipe cannot come out empty.
    recipe = fold(
        {"s": f"{built.text} + anchor"},
        "s",
        convention="supermerger",
        ingredient_names=("anchor", "a", "b", "c"),
        copied_from=("a", "b", "c"),
    )
    for block, name in enumerate(WEIGHT_BLOCKS):
        row = dict(zip(recipe.ingredients, recipe.rows[name], strict=True))
        assert row.pop("anchor") == 1
        total = sum((env[key] * value for key, value in row.items()), Fraction(0))
        assert total == built.value(env, block)
