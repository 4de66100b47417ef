"""Writing expressions of the recipe language."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Final

from release.errors import RecipeError
from release.recipe.cells import Cell, Part
from release.recipe.conventions import VAE
from release.recipe.decimals import decimal_text
from release.recipe.form import MAX_COEFFICIENT
from release.recipe.tokens import MAX_EXPRESSION_LENGTH, MAX_NUMBER_LENGTH
from release.recipe.weights import BASE, WEIGHT_BLOCKS, WEIGHT_PARTS

_BASE_PART: Final = Part.CLIP_L
"""The part that gives BASE its number in a list; others in BASE are then named."""


def scalar_weights(value: Fraction) -> tuple[Fraction, ...]:
    """Return the list of 20 weights that are all `value`."""
    return (value,) * len(WEIGHT_BLOCKS)


def block_merge(
    base: str,
    other: str,
    weights: Sequence[Fraction],
    *,
    parts: Mapping[str, Fraction] | None = None,
) -> str:
    """Return the call `mbw(base, other, 'weights')`.

    Args:
        base: Expression.
        other: Expression.
        weights: 20, or 21 with the VAE's; in the order of `WEIGHT_BLOCKS`.
        parts: Weights of parts that differ from their block's.
    """
    listed = ",".join(map(decimal_text, weights))
    named = ",".join(f"{part}={decimal_text(w)}" for part, w in (parts or {}).items())
    text = f"{listed}; {named}" if named else listed
    return f"mbw({base}, {other}, '{text}')"


def scaled(name: str, values: Mapping[Cell, Fraction]) -> str:
    """Return the expression of a model times a number of its own in every cell.

    Args:
        name: An ingredient or step.
        values: One for every cell of the convention "sd-mecha".

    Raises:
        RecipeError: Code "import-number": one is longer than the language takes.
    """
    for value in values.values():
        _check_number(value, name)
    different = set(values.values())
    if len(different) == 1:
        value = different.pop()
        return name if value == 1 else f"{decimal_text(value)} * {name}"
    listed = [values[_listing_cell(block)] for block in (*WEIGHT_BLOCKS, VAE)]
    parts: dict[str, Fraction] = {
        cell.part.value: value
        for cell, value in values.items()
        if value != values[_listing_cell(cell.block)]
    }
    ordered: dict[str, Fraction] = {
        part: parts[part] for part in WEIGHT_PARTS if part in parts
    }
    return block_merge(f"0 * {name}", name, listed, parts=ordered)


def _listing_cell(block: str) -> Cell:
    if block == VAE:
        return Cell(block, Part.VAE)
    return Cell(block, _BASE_PART if block == BASE else Part.UNET)


def _check_number(value: Fraction, name: str) -> None:
    text = decimal_text(value)
    if len(text) > MAX_NUMBER_LENGTH or abs(value) > MAX_COEFFICIENT:
        raise RecipeError(
            f"the coefficient of {name} becomes {text}, expected at most"
            f" {MAX_COEFFICIENT:,} and {MAX_NUMBER_LENGTH} characters",
            code="import-number",
            hint="the weights sum to almost nothing, so that dividing by their sum"
            " makes huge ones",
        )


def check_length(expression: str, *, place: str) -> str:
    """Return `expression` if the recipe language takes one as long.

    Raises:
        RecipeError: Code "import-too-large".
    """
    if len(expression) > MAX_EXPRESSION_LENGTH:
        raise RecipeError(
            f"{place}: becomes an expression of {len(expression):,} characters,"
            f" expected at most {MAX_EXPRESSION_LENGTH:,}",
            code="import-too-large",
            hint="merge in several recipes, one after the other",
        )
    return expression
