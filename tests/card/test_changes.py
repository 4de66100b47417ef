"""The changelog: what is different from the release before."""

from pathlib import Path
from typing import Any

import pytest

from release.card.changes import changes_section
from release.card.presentation import presentation_of
from release.card.render import render_card
from release.catalog.find import find_definition
from release.definition import Definition
from release.errors import CardError, RecipeError
from release.manifest import Manifest

HERE = Path(__file__).parent


@pytest.fixture
def before() -> Definition:
    return find_definition("gamma-rev1", HERE)[0]


def test_first_release_has_no_comparison(
    definition: Definition, manifest: Manifest
) -> None:
    assert changes_section(definition, None) == {"title": ""}
    assert "### Since" not in render_card(definition, manifest)


def test_coefficients_of_rev1_and_rev2_stand_side_by_side(
    definition: Definition, before: Definition
) -> None:
    found: Any = changes_section(definition, before)

    # Rev1: 0.5, 0.8, -0.8, 0.5; rev2 for a block weight w: 0.75(1-w), 1, -(1-w),
    # 0.25(1-w), with w of 0, 0.1 and 0.05.
    assert found["names"] == ["beta7", "anxl3", "anxl2", "base7", "base8"]
    assert [row["changes"] for row in found["rows"]] == [
        ["0.5 → 0.75", "0.8 → 1", "-0.8 → -1", "0.5 → 0", "0 → 0.25"],
        ["0.5 → 0.675", "0.8 → 1", "-0.8 → -0.9", "0.5 → 0", "0 → 0.225"],
        ["0.5 → 0.7125", "0.8 → 1", "-0.8 → -0.95", "0.5 → 0", "0 → 0.2375"],
    ]
    assert found["rows"][1]["blocks"] == "IN00, IN01, IN03, IN04, IN06, IN07"
    assert [each["name"] for each in found["added"]] == ["base8"]
    assert [each["name"] for each in found["removed"]] == ["base7"]
    assert (found["variants_added"], found["variants_removed"]) == (["fp8"], [])
    assert {part["title"] for part in found["parts"]} == {
        "U-Net",
        "CLIP-L",
        "CLIP-G",
        "VAE",
    }


def test_release_that_differs_in_variants_only_has_the_same_recipe(
    definition: Definition, manifest: Manifest
) -> None:
    release = definition.release.model_copy(
        update={"name": "older", "tag": "rev2-0", "variants": ("fp16", "bf16")}
    )
    older = definition.model_copy(update={"release": release})

    found: Any = changes_section(definition, older)

    assert found["is_same_recipe"] is True
    assert (found["variants_added"], found["variants_removed"]) == (["fp8"], ["bf16"])
    assert found["added"] == found["removed"] == []


def test_change_is_only_in_the_part_that_changed(
    gamma: dict[str, Any], definition: Definition
) -> None:
    gamma["recipe"]["vae"] = "anxl3"

    found: Any = changes_section(Definition.model_validate(gamma), definition)

    rows = {row["blocks"]: row["changes"] for row in found["rows"]}
    assert rows["OUT03-OUT08"] == ["0.7125", "1", "-0.95", "0.2375"]
    assert rows["BASE/vae, KEEP/vae"] == ["0.75 → 0", "1", "-1 → 0", "0.25 → 0"]
    assert {part["title"]: part["change"] for part in found["parts"]} == {
        "U-Net": "0",
        "CLIP-L": "0",
        "CLIP-G": "0",
        "VAE": "1",
    }


def test_recipes_of_two_conventions_are_not_compared_block_by_block(
    gamma: dict[str, Any], definition: Definition
) -> None:
    gamma["recipe"] |= {"convention": "sdnext"}

    found: Any = changes_section(Definition.model_validate(gamma), definition)

    assert found["rows"] == []
    assert found["is_same_recipe"] is False


def test_release_before_is_found_in_the_catalog(
    definition: Definition, before: Definition
) -> None:
    assert definition.release.previous == "gamma-rev1"
    assert presentation_of(definition, HERE).previous == before
    assert presentation_of(before, HERE).previous is None


@pytest.mark.parametrize("name", ["gamma-rev2", "gamma-rev9"])
def test_release_before_that_cannot_be_is_refused(
    gamma: dict[str, Any], name: str
) -> None:
    gamma["release"]["previous"] = name

    with pytest.raises((CardError, RecipeError)) as refused:
        presentation_of(Definition.model_validate(gamma), HERE)

    assert refused.value.code in {"previous-release", "unknown-release"}
    assert name in str(refused.value)


def test_template_folder_that_is_none_is_refused_at_once(
    definition: Definition, tmp_path: Path
) -> None:
    with pytest.raises(CardError) as refused:
        presentation_of(definition, HERE, templates=tmp_path)

    assert refused.value.code == "template-folder"
    assert "templates, and change it" in refused.value.hint
