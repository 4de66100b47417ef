"""Where an ingredient is said to be, and how it is identified."""

from typing import Any

import pytest

from release.card.ingredients import ingredients_section
from release.definition import Definition
from release.manifest import Manifest

STATED = "cagliostrolab/animagine-xl-3.0"
COMMIT = "3c" * 20


def anxl3(
    gamma: dict[str, Any], document: dict[str, Any], **facts: object
) -> dict[str, Any]:
    document["ingredients"][1] |= facts
    section: Any = ingredients_section(
        Definition.model_validate(gamma), Manifest.model_validate(document)
    )
    return dict(section[1])


def test_ingredients_follow_the_definition(
    definition: Definition, document: dict[str, Any]
) -> None:
    document["ingredients"].reverse()

    section: Any = ingredients_section(definition, Manifest.model_validate(document))

    assert [item["name"] for item in section] == ["beta7", "anxl3", "anxl2", "base8"]


@pytest.mark.parametrize(
    ("hub", "commit", "url", "shown"),
    [
        (STATED, COMMIT, f"{STATED}/tree/{COMMIT}", "3c3c3c3c3c3c"),
        (STATED, None, STATED, ""),
        (STATED, "main", STATED, ""),
        ("other/mirror", COMMIT, f"other/mirror/tree/{COMMIT}", "3c3c3c3c3c3c"),
        (None, COMMIT, STATED, ""),
        ("x](javascript:0)/y", COMMIT, STATED, ""),
        ("no-owner", COMMIT, STATED, ""),
    ],
)
def test_commit_is_shown_with_the_repository_it_was_read_from(
    gamma: dict[str, Any],
    document: dict[str, Any],
    hub: str | None,
    commit: str | None,
    url: str,
    shown: str,
) -> None:
    item = anxl3(gamma, document, hub=hub, commit=commit)

    assert item["url"] == f"https://huggingface.co/{url}"
    assert item["commit"] == shown


def test_licence_that_was_read_goes_before_the_stated_one(
    gamma: dict[str, Any], document: dict[str, Any]
) -> None:
    item = anxl3(gamma, document, licence="fair-ai-public-license-1.0-sd")

    assert item["licence"] == "fair-ai-public-license-1.0-sd"
    assert item["licence_canonical"] == "faipl-1.0-sd"


def test_file_digest_goes_before_the_digest_of_tensors(
    gamma: dict[str, Any], document: dict[str, Any]
) -> None:
    item = anxl3(gamma, document)

    assert (item["digest_kind"], item["digest"]) == ("SHA-256 of the file", "a3" * 32)


def test_ingredient_without_a_file_digest_shows_that_of_its_tensors(
    gamma: dict[str, Any], document: dict[str, Any]
) -> None:
    item = anxl3(gamma, document, sha256=None)

    assert item["digest_kind"] == "xxh3-128 of its tensors"
    assert item["digest"] == "0f" * 16
