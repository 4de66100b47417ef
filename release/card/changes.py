"""What changed between a release and the one before it, from their two definitions."""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Final

from release.card.environment import Plain
from release.card.files import component_title
from release.card.ingredients import HUB
from release.definition import Definition, folded_recipe
from release.recipe.cells import WHOLE_UNET, Cell, Part
from release.recipe.decimals import decimal_text
from release.recipe.labels import grouped
from release.recipe.rows import FoldedRecipe

_BEFORE: Final = "before "
_AFTER: Final = "after "
"""Prefixes of a leaf in a row of both recipes; no leaf has a blank in its name."""

_NONE: Final = Fraction(0)


def changes_section(
    definition: Definition, previous: Definition | None
) -> dict[str, Plain]:
    """Return what is different from the release before; empty texts without one.

    Raises:
        RecipeError: As `release.recipe.fold.fold`.
    """
    if previous is None:
        return {"title": ""}
    before, after = folded_recipe(previous), folded_recipe(definition)
    release, old = definition.release, previous.release
    return {
        "title": old.title,
        "tag": old.tag,
        "url": f"{HUB}/{old.repo}/tree/{old.tag}",
        "is_same_recipe": before.sha256() == after.sha256(),
        "before_sha256": before.sha256(),
        "added": _titles(definition, set(after.needed) - set(before.needed)),
        "removed": _titles(previous, set(before.needed) - set(after.needed)),
        "variants_added": [v for v in release.variants if v not in old.variants],
        "variants_removed": [v for v in old.variants if v not in release.variants],
        **_coefficients(before, after, _order(previous, definition)),
    }


def _titles(definition: Definition, names: Iterable[str]) -> list[Plain]:
    chosen = set(names)
    return [
        {"name": name, "title": source.title}
        for name, source in definition.ingredients.items()
        if name in chosen
    ]


def _order(previous: Definition, definition: Definition) -> list[str]:
    return list(dict.fromkeys([*previous.ingredients, *definition.ingredients]))


def _coefficients(
    before: FoldedRecipe, after: FoldedRecipe, order: Sequence[str]
) -> dict[str, Plain]:
    """Return the rows of both recipes side by side, and what each part changes by.

    None of it, where the two know different blocks, and where a method has no row.
    """
    are_alike = before.convention.name == after.convention.name
    if not are_alike or before.methods or after.methods:
        return {"names": [], "rows": [], "parts": []}
    both = {cell: _both(before, after, cell) for cell in after.rows}
    leaves = {leaf for row in both.values() for leaf in row}
    names = [n for n in order if {f"{_BEFORE}{n}", f"{_AFTER}{n}"} & leaves]
    rows: list[Plain] = [
        {"blocks": blocks, "changes": [_change(row, name) for name in names]}
        for blocks, row in grouped(both)
    ]
    return {"names": names, "rows": rows, "parts": _parts(both, names)}


def _both(before: FoldedRecipe, after: FoldedRecipe, cell: Cell) -> dict[str, Fraction]:
    old = {f"{_BEFORE}{leaf}": value for leaf, value in before.rows[cell].items()}
    return old | {f"{_AFTER}{leaf}": value for leaf, value in after.rows[cell].items()}


def _change(row: Mapping[str, Fraction], name: str) -> str:
    """Return "0.5 → 0.75", or one number where nothing changed."""
    old = row.get(f"{_BEFORE}{name}", _NONE)
    new = row.get(f"{_AFTER}{name}", _NONE)
    if old == new:
        return decimal_text(new)
    return f"{decimal_text(old)} → {decimal_text(new)}"


def _parts(
    both: Mapping[Cell, Mapping[str, Fraction]], names: Sequence[str]
) -> list[Plain]:
    """Return for each part of the model the largest change of a coefficient in it."""
    largest: dict[str, Fraction] = {}
    for cell, row in both.items():
        changes = [
            abs(row.get(f"{_AFTER}{name}", _NONE) - row.get(f"{_BEFORE}{name}", _NONE))
            for name in names
        ]
        part = (Part.UNET if cell.part in WHOLE_UNET else cell.part).value
        largest[part] = max([largest.get(part, _NONE), *changes])
    return [
        {"title": component_title(part), "change": decimal_text(value)}
        for part, value in largest.items()
        if part != Part.OTHER.value
    ]
