"""Block-weight lists for SDXL: their order, and reading one.

Source:
    hako-mikan/sd-webui-supermerger 0b1c491, the SDXL block names of
    `scripts/mergers/mergers.py`: base first, then input, middle and output blocks.
"""

import re
from fractions import Fraction
from typing import Final

from release.errors import RecipeError
from release.recipe.tokens import MAX_NUMBER_LENGTH, Place

BASE: Final = "BASE"
MIDDLE: Final = "M00"
WEIGHT_BLOCKS: Final = (
    BASE,
    *(f"IN{index:02}" for index in range(9)),
    MIDDLE,
    *(f"OUT{index:02}" for index in range(9)),
)
"""The 20 blocks in the order of a list of weights."""

_WEIGHT: Final = re.compile(r"-?(\d+(\.\d*)?|\.\d+)", re.ASCII)
_HINTS: Final = {
    19: "19 numbers: the first, BASE, is probably missing; put it in front",
    21: "21 numbers: the last is probably VAE, as in sd-mecha's lists; leave it out,"
    " and say with recipe.vae where the VAE comes from",
    26: "26 numbers are an SD1 list (IN00..IN11, OUT00..OUT11): leave out IN09..IN11"
    " and OUT09..OUT11",
}


def read_weights(text: str, *, place: Place, column: int) -> tuple[Fraction, ...]:
    """Return the 20 weights of a comma separated list, exact.

    Args:
        text: The list without quotes.
        place: The expression that errors point into.
        column: Where the list starts in it.

    Raises:
        RecipeError: Code "block-weights": another count, or an element that is not a
            plain decimal; the message says which.
    """
    elements = [element.strip() for element in text.split(",")]
    if len(elements) != len(WEIGHT_BLOCKS):
        raise _wrong_count(len(elements), place=place, column=column)
    for block, element in zip(WEIGHT_BLOCKS, elements, strict=True):
        if len(element) > MAX_NUMBER_LENGTH or not _WEIGHT.fullmatch(element):
            got = f"'{element[:MAX_NUMBER_LENGTH]}'" if element else "nothing"
            raise place.error(
                column,
                f"got {got} as the weight of {block}, expected a plain decimal",
                code="block-weights",
                hint=f"the order is {_order()}",
            )
    return tuple(Fraction(element) for element in elements)


def _wrong_count(count: int, *, place: Place, column: int) -> RecipeError:
    return place.error(
        column,
        f"got {count} block weights, expected {len(WEIGHT_BLOCKS)} ({_order()})",
        code="block-weights",
        hint=_HINTS.get(count, "give one number for every block, in this order"),
    )


def _order() -> str:
    return "BASE, IN00..IN08, M00, OUT00..OUT08"
