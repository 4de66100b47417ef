"""The lineage of a release: shares, the tree as text, and the picture."""

import re
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from release.card.lineage import Lineage, Link, Node, lineage_of, lineage_text
from release.card.svg import lineage_svg
from release.catalog.read import parse_definition
from release.definition import Definition

# ruff: noqa: RUF001, S314  # the sign of multiplication; the XML is ours
SVG = "{http://www.w3.org/2000/svg}"
TREE = """\
rev2 (Kohaku-XL gamma rev2)
├─ 0.9 to 1 × gamma
│  ├─ 0.75 × beta7 (Kohaku-XL beta7)
│  ├─ 1 × anxl3 (Animagine XL 3.0)
│  ├─ -1 × anxl2 (Animagine XL 2.0)
│  └─ 0.25 × base8 (Kohaku-XL base8)
└─ 0 to 0.1 × anxl3 (Animagine XL 3.0)"""


def tangled() -> Lineage:
    """Four ranks, and links that pass one or two of them."""
    sources = [Node(f"m{at}", f"Model {at}", "mit", 0) for at in range(7)]
    steps = [Node("a", "", "", 1), Node("b", "", "", 1), Node("c", "", "", 2)]
    ends = "m0a m1a m2a m3a m4b m5b m6b m3b ac bc m6c m3c m0o m3o co"
    links = [
        Link(end[:-1], {"o": "out"}.get(end[-1], end[-1]), "0.25")
        for end in ends.split()
    ]
    return Lineage((*sources, *steps, Node("out", "Out", "", 3)), tuple(links), "out")


def boxes(svg: str) -> list[tuple[int, int, int, int]]:
    """Left, top, right, bottom of every box."""
    found = [
        tuple(int(rect.get(key, "")) for key in ("x", "y", "width", "height"))
        for rect in ET.fromstring(svg).iter(f"{SVG}rect")
        if rect.get("class") in {"b", "r"}
    ]
    return [(x, y, x + width, y + height) for x, y, width, height in found]


def ends(svg: str) -> list[tuple[int, int, int, int]]:
    """Where each line begins and ends."""
    paths = [path.get("d", "") for path in ET.fromstring(svg).iter(f"{SVG}path")]
    numbers = [[int(n) for n in re.findall(r"-?\d+", path)] for path in paths]
    return [(n[0], n[1], n[-2], n[-1]) for n in numbers]


def test_tree_of_gamma_rev2(definition: Definition) -> None:
    assert lineage_text(lineage_of(definition)) == TREE


def test_shares_are_the_coefficients_of_one_step(definition: Definition) -> None:
    links = lineage_of(definition).links

    assert [(x.source, x.target, x.share) for x in links] == [
        ("beta7", "gamma", "0.75"),
        ("anxl3", "gamma", "1"),
        ("anxl2", "gamma", "-1"),
        ("base8", "gamma", "0.25"),
        ("gamma", "rev2", "0.9 to 1"),
        ("anxl3", "rev2", "0 to 0.1"),
    ]


def test_release_of_one_ingredient_is_that_ingredient(gamma: dict[str, Any]) -> None:
    gamma["recipe"] |= {"steps": {}, "output": "base8", "copy_from": "base8"}
    gamma["ingredients"] = {"base8": gamma["ingredients"]["base8"]}
    definition = Definition.model_validate(gamma)

    lineage = lineage_of(definition)

    assert lineage_text(lineage) == "base8 (Kohaku-XL base8)"
    assert len(boxes(lineage_svg(lineage, title="t"))) == 1


def test_models_of_a_method_have_no_share(gamma: dict[str, Any]) -> None:
    gamma["recipe"]["steps"]["rev2"] = "slerp(gamma, anxl3, 0.5)"

    lineage = lineage_of(Definition.model_validate(gamma))

    assert [x.share for x in lineage.links if x.target == "rev2"] == ["", ""]
    assert "└─ anxl3 (Animagine XL 3.0)" in lineage_text(lineage)


def test_every_release_of_the_catalog_has_a_lineage() -> None:
    catalog = Path(__file__).parents[2] / "release" / "catalog"
    for path in catalog.glob("*.toml"):
        definition = parse_definition(path.read_text(), origin=path.name)

        assert lineage_svg(lineage_of(definition), title="t").endswith("</svg>\n")


def test_what_is_used_twice_is_spelt_out_once() -> None:
    text = lineage_text(tangled())

    assert text.count("m3 (Model 3)") == 4
    assert len(text.splitlines()) == 16


def test_tree_without_end_is_cut() -> None:
    sources = [Node(f"m{at}", "", "", 0) for at in range(500)]
    links = [Link(node.name, "out", "1") for node in sources]
    lineage = Lineage((*sources, Node("out", "", "", 1)), tuple(links), "out")

    lines = lineage_text(lineage).splitlines()

    assert len(lines) == 201
    assert lines[-1] == "… (301 more)"


@pytest.mark.parametrize("which", ["gamma", "tangled"])
def test_no_box_lies_on_another_and_all_lie_inside(
    definition: Definition, which: str
) -> None:
    lineage = tangled() if which == "tangled" else lineage_of(definition)
    svg = lineage_svg(lineage, title="t")
    root = ET.fromstring(svg)
    width, height = int(root.get("width", "")), int(root.get("height", ""))

    found = boxes(svg)

    assert len(found) == len(lineage.nodes)
    for left, top, right, bottom in found:
        assert 0 < left < right < width
        assert 0 < top < bottom < height
    for one, two in combinations(found, 2):
        is_apart = one[2] < two[0] or two[2] < one[0]
        assert is_apart or one[3] < two[1] or two[3] < one[1]


@pytest.mark.parametrize("which", ["gamma", "tangled"])
def test_every_line_leaves_a_box_and_reaches_another(
    definition: Definition, which: str
) -> None:
    lineage = tangled() if which == "tangled" else lineage_of(definition)
    svg = lineage_svg(lineage, title="t")

    found = ends(svg)

    assert len(found) == len(lineage.links)
    assert len({end[:2] for end in found}) == len(found)
    for x0, y0, x, y in found:
        assert any(x0 == right and t < y0 < b for _, t, right, b in boxes(svg))
        assert any(x == left and t < y < b for left, t, _, b in boxes(svg))


@pytest.mark.parametrize("text", ["<b>&", '"><script>', "]]>", "\x1b\u202e\x00", "'"])
def test_foreign_text_is_text_in_the_picture(text: str) -> None:
    lineage = Lineage((Node("m", text, text, 0),), (), "m")

    root = ET.fromstring(lineage_svg(lineage, title=text))

    kinds = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert kinds == {"svg", "title", "style", "rect", "text"}


def test_long_title_is_cut_in_the_picture() -> None:
    lineage = Lineage((Node("m", "x" * 4000, "", 0),), (), "m")

    svg = lineage_svg(lineage, title="t")

    assert "(3960 more)" in svg
    assert int(ET.fromstring(svg).get("width", "")) < 700
