"""Canonical recipes read back: the same recipe, or an error, never another one."""

import json
import re
from pathlib import Path

import pytest

from release.catalog.recipes import find_recipe
from release.errors import RecipeError
from release.recipe.canonical import read_canonical
from release.recipe.fold import fold
from release.recipe.text import Origin, recipe_of_expression

LIST = ",".join("0.5" if at == 3 else "0" for at in range(20))


def folded(expression, names="abcd", **settings):
    used = [name for name in names if re.search(rf"\b{name}\b", expression)]
    text = recipe_of_expression(expression, {n: Origin() for n in used}, **settings)
    return fold(text)


EXPRESSIONS = [
    "a",
    "a + 0.125*(b - c)",
    f"mbw(a, b, '{LIST}')",
    "a + only(0.5*(b - a), clip_l, OUT03)",
    "a + 0.6*lora(b)",
    "slerp(a, b, 0.25)",
    "dare(a, b, 0.5, seed=7) + 0.5*(c - a)",
    "slerp(ties(a, b, c, density=0.3), d, 0.1)",
    f"mbw(a, slerp(a, b, 0.5), '{LIST}')",
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_canonical_text_gives_the_recipe_that_wrote_it(expression):
    recipe = folded(expression)

    found = read_canonical(recipe.canonical(), place="here")

    assert found.canonical() == recipe.canonical()
    assert found.sha256() == recipe.sha256()
    assert (found.ingredients, found.loras) == (recipe.ingredients, recipe.loras)
    assert found.rows == recipe.rows
    assert found.needed == recipe.needed


@pytest.mark.parametrize(
    "convention", ["supermerger", "sd-mecha", "chattiori", "sdnext"]
)
def test_every_convention_reads_back(convention):
    recipe = folded(
        f"mbw(a, b, '{LIST}')", convention=convention, vae="b", missing="keep:a"
    )

    assert read_canonical(recipe.canonical(), place="here").rows == recipe.rows


@pytest.mark.parametrize("release", ["gamma-rev1", "gamma-rev2"])
def test_the_catalog_reads_back(release):
    recipe = fold(find_recipe(release, Path()).recipe)

    assert read_canonical(recipe.canonical(), place="here").rows == recipe.rows


def change(path, value):
    def run(document):
        target = document
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value

    return run


@pytest.mark.parametrize(
    "damage",
    [
        change(("schema",), "krelease.recipe/2"),
        change(("convention",), 5),
        change(("rows",), []),
        change(("rows", "BASE"), {"a": "1e3"}),
        change(("rows", "BASE"), {"a": 1}),
        change(("rows", "BASE"), {"../a": "1"}),
        change(("rows", "BASE"), {"slerp#1": "1"}),
        change(("rows", "BASE"), {"nothing#1": "1"}),
        change(("rows", "BASE"), {"a": "0.50"}),
        change(("rows", "NOWHERE"), {"a": "1"}),
        change(("rows", "BASE/nowhere"), {"a": "1"}),
        change(("copy_from",), "a b"),
        change(("vae",), None),
        change(("missing",), "keep:"),
        change(("loras",), ["b", "a"]),
        change(("loras",), "ab"),
        change(("methods",), [{"name": "slerp#1"}]),
        change(("more",), 1),
    ],
)
def test_a_damaged_text_is_refused(damage):
    document = json.loads(folded("a + 0.5*(b - a)").canonical())
    damage(document)
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))

    with pytest.raises(RecipeError) as error:
        read_canonical(text, place="the header")

    assert error.value.code == "recipe-canonical"
    assert str(error.value).startswith("the header: ")
    assert error.value.hint


@pytest.mark.parametrize("text", ["", "{", "[]", "{}" * 3, "\x00", '{"a":1,"a":2}'])
def test_what_is_no_json_object_is_refused(text):
    with pytest.raises(RecipeError):
        read_canonical(text, place="the header")


def test_rows_of_only_some_blocks_are_refused():
    document = json.loads(folded("a + 0.5*(b - a)").canonical())
    del document["rows"]["M00"]

    with pytest.raises(RecipeError, match="rows of other blocks"):
        read_canonical(json.dumps(document), place="the header")
