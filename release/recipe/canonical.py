"""Reading back the canonical form of a recipe, as headers and manifests carry it."""

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Final

from release.errors import RecipeError, visible
from release.recipe.cells import Cell, Part
from release.recipe.conventions import Convention, find_convention
from release.recipe.functions import METHODS
from release.recipe.imports.foreign import Value, read_object
from release.recipe.patterns import NAME
from release.recipe.rows import (
    CANONICAL_SCHEMA,
    CellRows,
    FoldedRecipe,
    MethodNode,
    Row,
    is_method,
)
from release.recipe.text import KEEP_PREFIX, MERGED_VAE, MISSING_ERROR

_DECIMAL: Final = re.compile(r"-?\d{1,7}(\.\d{1,60})?", re.ASCII)
_METHOD_LEAF: Final = re.compile(r"([a-z_]+)#\d{1,4}", re.ASCII)
_HINT: Final = "the header was edited or damaged: pass --recipe or --release instead"


def read_canonical(text: str, *, place: str) -> FoldedRecipe:
    """Return the recipe that a canonical text stands for.

    Whatever is read gives the same text again, so nothing in it was passed over.

    Args:
        text: As `FoldedRecipe.canonical` writes it; foreign.
        place: Where it was found, for messages.

    Raises:
        RecipeError: Code "recipe-canonical": it is no such text. Codes "import-json",
            "import-too-large" and "unknown-convention" as their readers.
    """
    members = read_object(text, place=place)
    if members.get("schema") != CANONICAL_SCHEMA:
        raise _error(place, f"got the schema '{visible(members.get('schema'), 40)}'")
    try:
        recipe = _recipe(members)
        agrees = recipe.canonical() == text
    except (KeyError, TypeError, ValueError) as error:
        raise _error(place, f"cannot be read: {visible(error, 80)}") from error
    if not agrees:
        raise _error(place, "is not the canonical form of any recipe")
    return recipe


def _recipe(members: Mapping[str, Value]) -> FoldedRecipe:
    convention = find_convention(_text(members["convention"]))
    rows = _cell_rows(members["rows"], convention)
    if set(rows) != set(convention.cells):
        raise ValueError("rows of other blocks")
    methods = tuple(_method(each, convention) for each in _list(members["methods"]))
    every_row = [
        *rows.values(),
        *(row for each in methods for cells in each.models for row in cells.values()),
    ]
    leaves = {leaf for row in every_row for leaf in row}
    known = {node.name for node in methods}
    ingredients = {leaf for leaf in leaves if not is_method(leaf)}
    if {leaf for leaf in leaves if is_method(leaf)} - known or not ingredients:
        raise ValueError("leaves that are nothing")
    copy_from, vae = _name(members["copy_from"]), _name(members["vae"])
    missing = _text(members["missing"])
    if missing != MISSING_ERROR:
        _name(missing.removeprefix(KEEP_PREFIX))
    loras = tuple(_name(each) for each in _list(members["loras"]))
    if {copy_from, vae} - {MERGED_VAE} & set(loras) or set(loras) - ingredients:
        raise ValueError("LoRAs in the place of models")
    return FoldedRecipe(
        ingredients=tuple(sorted(ingredients)),
        loras=loras,
        convention=convention,
        rows={cell: rows[cell] for cell in convention.cells},
        methods=methods,
        copy_from=copy_from,
        vae=vae,
        missing=missing,
    )


def _method(value: Value, convention: Convention) -> MethodNode:
    members = _object(value)
    kind = METHODS[_text(members["method"])]
    given = _object(members["parameters"])
    parameters = {each.name: _number(given[each.name]) for each in kind.parameters}
    allowed = all(each.allows(parameters[each.name]) for each in kind.parameters)
    models = tuple(_cell_rows(each, convention) for each in _list(members["models"]))
    if not allowed or len(models) < len(kind.models):
        raise ValueError("a method out of range")
    if any(set(cells) != set(models[0]) for cells in models):
        raise ValueError("models of different blocks")
    return MethodNode(_leaf(_text(members["name"])), kind.name, parameters, models)


def _cell_rows(value: Value, convention: Convention) -> CellRows:
    rows: dict[Cell, Row] = {}
    for label, row in _object(value).items():
        block, slash, part = label.partition("/")
        cells = [cell for cell in convention.cells if cell.block == block]
        if slash:
            cells = [cell for cell in cells if cell.part is Part(part)]
        if not cells:
            raise ValueError("a block that is none")
        values = {_leaf(k): _number(v) for k, v in _object(row).items()}
        rows |= dict.fromkeys(cells, values)
    return {cell: rows[cell] for cell in convention.cells if cell in rows}


def _leaf(text: str) -> str:
    found = _METHOD_LEAF.fullmatch(text)
    if found is None:
        return _name(text)
    METHODS[found.group(1)]
    return text


def _name(value: Value) -> str:
    text = _text(value)
    if not re.fullmatch(NAME, text):
        raise ValueError("a name that is none")
    return text


def _number(value: Value) -> Fraction:
    text = _text(value)
    if not _DECIMAL.fullmatch(text):
        raise ValueError("a number that is none")
    return Fraction(text)


def _text(value: Value) -> str:
    if not isinstance(value, str):
        raise TypeError("no text where one belongs")
    return value


def _list(value: Value) -> list[Value]:
    if not isinstance(value, list):
        raise TypeError("no list where one belongs")
    return value


def _object(value: Value) -> dict[str, Value]:
    if not isinstance(value, dict):
        raise TypeError("no object where one belongs")
    return value


def _error(place: str, reason: str) -> RecipeError:
    return RecipeError(f"{place}: {reason}", code="recipe-canonical", hint=_HINT)
