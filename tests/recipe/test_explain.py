"""What people read of a recipe."""

from collections.abc import Callable

import pytest

from release.recipe.explain import Explanation, explain
from release.recipe.labels import grouped
from release.recipe.rows import FoldedRecipe
from release.recipe.text import Origin, recipe_of_expression


def explained(text: str, **settings: str) -> Explanation:
    names = {name: Origin() for name in "abc" if name in text}
    return explain(recipe_of_expression(text, names, **settings))


def test_table_has_a_row_for_each_set_of_coefficients() -> None:
    ((title, table),) = explained("mbw(a, a + b, '0, IN03=0.5, OUT03=0.5')").tables()

    assert title == "the result"
    assert table == [
        ["blocks", "a", "b", "sum"],
        [
            "BASE, IN00-IN02, IN04-IN08, M00, OUT00-OUT02, OUT04-OUT08, KEEP",
            *("1", "0", "1"),
        ],
        ["IN03, OUT03", "1", "0.5", "1.5"],
    ]


def test_equal_cells_of_a_block_are_one(folded: Callable[..., FoldedRecipe]) -> None:
    recipe = folded("a + only(b - a, clip_l, clip_g)", "ab")

    labels = [label for label, _ in grouped(recipe.rows)]

    assert labels[0] == "BASE/clip_l+clip_g, KEEP/clip_l+clip_g"
    assert labels[1].startswith("BASE/vae+other, IN00-IN08, M00, OUT00-OUT08, KEEP/vae")


def test_every_model_of_a_method_has_its_table() -> None:
    tables = explained("0.5*slerp(a, b, 0.3) + 0.5*lora(c) + 0.5*a").tables()

    assert [title for title, _ in tables] == [
        "the result",
        "slerp#1 (t=0.3), model 1",
        "slerp#1 (t=0.3), model 2",
    ]
    assert tables[0][1][0] == ["blocks", "a", "lora(c)", "slerp#1", "sum"]
    assert tables[0][1][1][1:] == ["0.5", "0.5", "0.5", "1"]
    assert tables[2][1][0] == ["blocks", "b", "sum"]


@pytest.mark.parametrize(
    ("settings", "key", "words"),
    [
        ({}, "convention", "supermerger"),
        ({}, "copied", "from a (the first model named)"),
        ({"copy_from": "b"}, "copied", "logit_scale, from b"),
        ({}, "vae", "merged like the rest"),
        ({"vae": "b"}, "vae", "that of b"),
        ({}, "missing", "is refused"),
        ({"missing": "keep:b"}, "missing", "are those of b"),
        ({}, "nonfinite", "is refused"),
        ({}, "accumulate", "float64, products and sums apart, one rounding"),
        ({}, "KEEP", "leaves as its first model has them"),
    ],
)
def test_every_rule_is_said_with_its_default(
    settings: dict[str, str], key: str, words: str
) -> None:
    rules = dict(explained("0.5*a + 0.5*b", **settings).rules)

    assert rules[key].endswith(words) or words in rules[key]


def test_convention_without_a_kept_block_says_nothing_of_it() -> None:
    assert "KEEP" not in dict(explained("a", convention="sd-mecha").rules)


def test_lists_are_decoded_into_names() -> None:
    weights = ",".join(f"0.{index:02}" for index in range(1, 21))
    (found,) = explained(f"mbw(a, b, '{weights}; vae=1')").block_lists

    assert found.step == "the expression"
    assert found.weights["OUT08"] * 5 == 1
    assert list(found.weights)[-1] == "vae"


def test_document_is_plain_and_exact() -> None:
    document = explained("0.1*a + 0.2*b").document()

    assert document["rows"]["M00"] == {"a": "0.1", "b": "0.2"}
    assert document["sums"]["M00"] == "0.3"
    assert document["accumulate"] == "fp64"
    assert document["needed"] == ["a", "b"]
    assert document["warnings"][0].startswith("coefficients sum to 0.3, not 1")
