"""The whole page, as a reader gets it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from release.card.presentation import presentation_of
from release.card.render import render_card, render_hub_pages
from release.definition import Definition, folded_recipe
from release.errors import CardError
from release.manifest import Manifest

HERE = Path(__file__).parent
TABLE_ROW = re.compile(r"^\|.*\|$")


def body_of(card: str) -> str:
    return card.split("\n---\n", 1)[1]


def full(gamma: dict[str, Any], document: dict[str, Any]) -> None:
    gamma["known_bad"] = [{"file": "old.safetensors", "reason": "a bug"}]


def bare(gamma: dict[str, Any], document: dict[str, Any]) -> None:
    """The least a maker can state: one prompt, no tags, no issues, no facts."""
    gamma |= {"tag_tables": [], "known_issues": [], "known_bad": [], "card": {}}
    gamma["release"] |= {"date": None, "archives": []}
    gamma["usage"] |= {"notes": [], "fp8_note": None}
    gamma["usage"] |= {"min_pixels": 1, "max_pixels": 2}
    del gamma["usage"]["example_negative_prompt"]
    gamma["licence"]["notices"] = []
    for source in gamma["ingredients"].values():
        source |= {"facts": [], "hub": None, "licence": None}
    document["files"] = []


def only_bad_files(gamma: dict[str, Any], document: dict[str, Any]) -> None:
    bare(gamma, document)
    full(gamma, document)


def unmerged(gamma: dict[str, Any], document: dict[str, Any]) -> None:
    """One ingredient, published in other dtypes: a recipe without a step."""
    bare(gamma, document)
    gamma["recipe"] |= {"steps": {}, "output": "base8", "copy_from": "base8"}
    gamma["ingredients"] = {"base8": gamma["ingredients"]["base8"]}
    document["ingredients"] = document["ingredients"][3:]
    rows = {block: {"base8": "1"} for block in document["recipe"]["rows"]}
    document["recipe"] |= {"steps": {}, "rows": rows, "output": "base8"}
    identity = folded_recipe(Definition.model_validate(gamma))
    document["recipe"]["sha256"] = identity.sha256()


PAGES = {page.__name__: page for page in (full, bare, only_bad_files, unmerged)}


@pytest.fixture(params=PAGES)
def page(
    request: pytest.FixtureRequest, gamma: dict[str, Any], document: dict[str, Any]
) -> str:
    PAGES[request.param](gamma, document)
    return render_card(
        Definition.model_validate(gamma), Manifest.model_validate(document)
    )


def test_pages_of_gamma_rev2_are_the_golden_ones(
    definition: Definition, manifest: Manifest, golden: Callable[[str, str], None]
) -> None:
    pages = render_hub_pages(
        definition, manifest, presentation=presentation_of(definition, HERE)
    )

    assert list(pages) == ["README.md", "lineage.svg"]
    golden("gamma-rev2.md", pages["README.md"])
    golden("gamma-rev2.svg", pages["lineage.svg"])


def test_pages_of_gamma_rev1_are_the_golden_ones(
    rev1: tuple[Definition, Manifest], golden: Callable[[str, str], None]
) -> None:
    pages = render_hub_pages(*rev1)

    golden("gamma-rev1.md", pages["README.md"])
    golden("gamma-rev1.svg", pages["lineage.svg"])


def test_card_from_a_manifest_read_back_has_the_same_bytes(
    definition: Definition, manifest: Manifest
) -> None:
    # JSON keeps no order of keys, and the blocks of the document are not sorted.
    read_back = Manifest.model_validate_json(manifest.to_json())

    assert render_card(definition, read_back) == render_card(definition, manifest)


def test_page_ends_with_one_newline(page: str) -> None:
    assert page.endswith("\n")
    assert not page.endswith("\n\n")


def test_page_has_no_two_blank_lines_in_a_row(page: str) -> None:
    assert "\n\n\n" not in page


def test_page_has_no_blank_at_the_end_of_a_line(page: str) -> None:
    assert re.findall(r"[ \t]+$", page, re.MULTILINE) == []


def test_no_heading_is_followed_by_nothing(page: str) -> None:
    lines = [line for line in body_of(page).splitlines() if line]
    ranks = [len(line) - len(line.lstrip("#")) for line in lines]
    # A heading may be followed by text or by a heading of a deeper rank.
    empty = [
        line
        for line, rank, after in zip(lines, ranks, [*ranks[1:], 1], strict=True)
        if rank and 0 < after <= rank
    ]
    assert empty == []


def test_every_table_row_has_as_many_cells_as_its_head(page: str) -> None:
    tables: list[list[int]] = [[]]
    for line in page.splitlines():
        if TABLE_ROW.match(line):
            tables[-1].append(len(re.findall(r"(?<!\\)\|", line)))
        elif tables[-1]:
            tables.append([])

    assert len(tables) > 5
    assert [counts for counts in tables if len(set(counts)) > 1] == []


def test_every_table_of_the_page_is_a_table_to_a_parser(page: str) -> None:
    rows = sum(bool(TABLE_ROW.match(line)) for line in page.splitlines())
    tokens = MarkdownIt("commonmark").enable("table").parse(body_of(page))
    heads = sum(token.type == "thead_open" for token in tokens)

    # The parser has no row for the line of dashes below each head.
    assert sum(token.type == "tr_open" for token in tokens) == rows - heads


def test_page_has_no_word_of_an_unrendered_template(page: str) -> None:
    assert re.findall(r"\{[{%#]|None|TODO|Undefined|Fraction\(", page) == []


def test_rehearsal_is_said_before_the_title(
    definition: Definition, document: dict[str, Any]
) -> None:
    document["rehearsal"] = True

    card = render_card(definition, Manifest.model_validate(document))

    first, second, title = body_of(card).lstrip("\n").splitlines()[:3]
    assert first.startswith("> **This is a rehearsal.** ")
    assert "stand-in weights" in first
    assert "make no images" in first
    assert "must not be published" in first
    assert (second, title) == ("", "# Kohaku-XL gamma rev2")


def test_release_is_not_called_a_rehearsal(
    definition: Definition, manifest: Manifest
) -> None:
    assert "rehearsal" not in render_card(definition, manifest)


def test_stand_in_is_marked_in_the_table_of_ingredients(
    definition: Definition, document: dict[str, Any]
) -> None:
    document["ingredients"][1]["stand_in"] = True

    card = render_card(definition, Manifest.model_validate(document))

    marked = [line for line in card.splitlines() if "stand-in" in line]
    assert [line.split("|")[1] for line in marked] == [
        " `anxl3` Animagine XL 3.0 (**stand-in**) "
    ]


def test_ingredient_without_a_hub_id_is_said_to_be_unpublished(page: str) -> None:
    row = next(line for line in page.splitlines() if line.startswith("| `base8`"))

    assert row.split("|")[2] == " not published on the Hub "


def test_ingredient_links_to_the_commit_that_was_read(
    definition: Definition, manifest: Manifest
) -> None:
    card = render_card(definition, manifest)

    assert (
        "[cagliostrolab/animagine-xl-3.0]"
        f"(https://huggingface.co/cagliostrolab/animagine-xl-3.0/tree/{'3c' * 20})"
        " at `3c3c3c3c3c3c`"
    ) in card


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("release", "gamma-rev1"),
        ("tag", "rev1"),
        ("recipe", {"sha256": "00" * 32}),
        ("recipe", {"steps": {"$$<script>": "beta7"}}),
        ("checkpoints", []),
    ],
)
def test_manifest_of_another_release_gives_no_card(
    definition: Definition, document: dict[str, Any], key: str, value: object
) -> None:
    document[key] = document[key] | value if isinstance(value, dict) else value

    with pytest.raises(CardError) as refused:
        render_card(definition, Manifest.model_validate(document))

    assert refused.value.code == ("card-mismatch" if value else "card-empty")
    assert refused.value.hint


def test_ingredient_that_the_definition_lacks_is_named(
    definition: Definition, document: dict[str, Any]
) -> None:
    document["ingredients"][0]["name"] = "beta9"

    with pytest.raises(CardError, match="does not name: beta9") as refused:
        render_card(definition, Manifest.model_validate(document))

    assert refused.value.code == "card-mismatch"


def test_licence_that_is_not_known_gives_no_card(
    gamma: dict[str, Any], manifest: Manifest
) -> None:
    gamma["licence"]["name"] = "my-own"

    with pytest.raises(CardError) as refused:
        render_card(Definition.model_validate(gamma), manifest)

    assert refused.value.code == "licence-unknown"
