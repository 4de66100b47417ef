"""The recipe on the page: formulas, block weights, coefficient rows."""

import re
from typing import Any

import pytest

from release.card.formula import recipe_section
from release.definition import Definition
from release.errors import CardError
from release.manifest import Manifest
from release.recipe.labels import block_ranges
from release.recipe.weights import WEIGHT_BLOCKS


def section(
    gamma: dict[str, Any], document: dict[str, Any], steps: dict[str, str]
) -> dict[str, Any]:
    gamma["recipe"]["steps"] = steps
    document["recipe"]["steps"] = steps
    return dict(
        recipe_section(
            Definition.model_validate(gamma), Manifest.model_validate(document)
        )
    )


@pytest.mark.parametrize(
    ("text", "formula"),
    [
        ("a", r"\text{a}"),
        ("0.50*a", r"0.5 \cdot \text{a}"),
        ("a - b + c", r"\text{a} - \text{b} + \text{c}"),
        ("a - (b - c)", r"\text{a} - (\text{b} - \text{c})"),
        ("-a + b", r"-\text{a} + \text{b}"),
        ("a * -0.5", r"\text{a} \cdot (-0.5)"),
        ("-(a + b)", r"-(\text{a} + \text{b})"),
        ("a + 2 * (b - c)", r"\text{a} + 2 \cdot (\text{b} - \text{c})"),
        ("a_b", r"\text{a\textunderscore b}"),
        ("a + 0.5*lora(b)", r"\text{a} + 0.5 \cdot \text{lora}(\text{b})"),
        (
            "a + only(b - a, unet, clip_l)",
            (
                r"\text{a} + \text{only}(\text{b} - \text{a}, \text{unet},"
                r" \text{clip\textunderscore l})"
            ),
        ),
        (
            "0.5*slerp(a, b + c, 0.30)",
            (
                r"0.5 \cdot \text{slerp}(\text{a}, \text{b} + \text{c},"
                r" \text{t} = 0.3)"
            ),
        ),
        (
            "lerp(a, b + c, 0.25 + 0.5)",
            (
                r"(1 - (0.25 + 0.5)) \cdot \text{a}"
                r" + (0.25 + 0.5) \cdot (\text{b} + \text{c})"
            ),
        ),
    ],
)
def test_step_is_typeset(
    gamma: dict[str, Any], document: dict[str, Any], text: str, formula: str
) -> None:
    shown = section(gamma, document, {"x_1": text})

    assert shown["formulas"] == [rf"\text{{x\textunderscore 1}} = {formula}"]
    assert shown["code"] == f"x_1 = {text}"


def test_no_command_of_a_formula_is_an_escape_to_markdown(
    definition: Definition, manifest: Manifest
) -> None:
    formulas = recipe_section(definition, manifest)["formulas"]

    assert re.findall(r"\\[^a-z]|[*`<$]", "".join(formulas)) == []  # type: ignore[arg-type]


def test_steps_keep_the_makers_order(
    gamma: dict[str, Any], document: dict[str, Any]
) -> None:
    steps = {"z": "beta7", "a": "z", "m": "a"}

    shown = section(gamma, document, steps)

    assert shown["code"] == "z = beta7\na = z\nm = a"


def test_block_weights_of_gamma_have_their_names(
    definition: Definition, manifest: Manifest
) -> None:
    (weights,) = recipe_section(definition, manifest)["weight_lists"]  # type: ignore[misc]

    assert weights == {
        "step": "rev2",
        "other": "anxl3",
        "text": (
            "BASE=0\n"
            "IN00=0.1 IN01=0.1 IN02=0 IN03=0.1 IN04=0.1 IN05=0 IN06=0.1 IN07=0.1"
            " IN08=0\n"
            "M00=0\n"
            "OUT00=0 OUT01=0 OUT02=0 OUT03=0.05 OUT04=0.05 OUT05=0.05 OUT06=0.05"
            " OUT07=0.05 OUT08=0.05"
        ),
    }


def test_named_weights_of_parts_stand_below_those_of_blocks(
    gamma: dict[str, Any], document: dict[str, Any]
) -> None:
    shown = section(gamma, document, {"x": "mbw(a, b, '0.5; VAE=1, time_embed=0.25')"})

    (entry,) = shown["weight_lists"]
    lines = entry["text"].split("\n")
    assert lines[0] == "BASE=0.5"
    assert lines[-1] == "VAE=1 time_embed=0.25"


def test_parts_of_a_block_stand_at_its_place(
    definition: Definition, document: dict[str, Any]
) -> None:
    document["recipe"]["rows"] = {
        "BASE/clip_l": {"beta7": "1"},
        "BASE/vae": {"beta7": "0.5", "slerp#1": "0.5"},
        "IN00": {"beta7": "1"},
    }

    shown = recipe_section(definition, Manifest.model_validate(document))

    assert shown["names"] == ["beta7", "slerp#1"]
    assert [row["blocks"] for row in shown["rows"]] == ["BASE/clip_l, IN00", "BASE/vae"]


def test_block_merges_inside_other_operations_are_found(
    gamma: dict[str, Any], document: dict[str, Any]
) -> None:
    ones = ",".join(["1"] * 20)
    halves = ",".join(["0.5"] * 20)
    text = f"lerp(-mbw(a, b, '{ones}') * 1, mbw(a, b + c, '{halves}'), 0.5)"

    lists = section(gamma, document, {"x": text})["weight_lists"]

    assert [entry["other"] for entry in lists] == ["b", ""]
    assert [entry["text"].split("\n")[0] for entry in lists] == ["BASE=1", "BASE=0.5"]


def test_blocks_of_equal_coefficients_share_a_row(
    definition: Definition, manifest: Manifest
) -> None:
    shown = recipe_section(definition, manifest)

    assert shown["names"] == ["beta7", "anxl3", "anxl2", "base8"]
    assert shown["rows"] == [
        {
            "blocks": "BASE, IN02, IN05, IN08, M00, OUT00-OUT02, KEEP",
            "coefficients": ["0.75", "1", "-1", "0.25"],
            "sum": "1",
        },
        {
            "blocks": "IN00, IN01, IN03, IN04, IN06, IN07",
            "coefficients": ["0.675", "1", "-0.9", "0.225"],
            "sum": "1",
        },
        {
            "blocks": "OUT03-OUT08",
            "coefficients": ["0.7125", "1", "-0.95", "0.2375"],
            "sum": "1",
        },
    ]


def test_missing_coefficient_is_zero_and_the_sum_says_what_it_is(
    definition: Definition, document: dict[str, Any]
) -> None:
    document["recipe"]["rows"] = {"BASE": {"beta7": "0.3", "anxl2": "0.60"}, "IN00": {}}

    rows = recipe_section(definition, Manifest.model_validate(document))["rows"]

    assert rows == [
        {"blocks": "BASE", "coefficients": ["0.3", "0.6"], "sum": "0.9"},
        {"blocks": "IN00", "coefficients": ["0", "0"], "sum": "0"},
    ]


def test_coefficient_that_is_no_number_is_refused(
    definition: Definition, document: dict[str, Any]
) -> None:
    document["recipe"]["rows"]["BASE"] = {"beta7": "1 | <b>"}

    with pytest.raises(CardError) as refused:
        recipe_section(definition, Manifest.model_validate(document))

    assert refused.value.code == "figure"


@pytest.mark.parametrize(
    ("blocks", "text"),
    [
        (["OUT08", "BASE"], "BASE, OUT08"),
        (["IN01", "IN00"], "IN00, IN01"),
        (["IN02", "IN01", "IN00"], "IN00-IN02"),
        (["IN07", "IN08", "M00", "OUT00"], "IN07, IN08, M00, OUT00"),
        (["VAE", "KEEP", "M00"], "M00, KEEP, VAE"),
        (list(WEIGHT_BLOCKS), "BASE, IN00-IN08, M00, OUT00-OUT08"),
        (["Y00", "Y01", "Y02"], "Y00, Y01, Y02"),
        ([], ""),
    ],
)
def test_neighbouring_blocks_are_joined(blocks: list[str], text: str) -> None:
    assert block_ranges(blocks, WEIGHT_BLOCKS) == text
