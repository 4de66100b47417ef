"""Block weights for SDXL: the order of a list, and reading a list or named weights.

    weights = numbers [ (";" | ",") named ]
    numbers = 20, 21 or 26 numbers | one number, the weight of every block not named
    named   = NAME "=" number { "," NAME "=" number }

A name is a block, such as OUT03, or a part of the model, such as time_embed. The weight
of a part counts for all of its tensors, in whatever block they are. The 20 blocks may
also be named one by one, without a number in front.

Source:
    hako-mikan/sd-webui-supermerger 0b1c491, `scripts/mergers/mergers.py`: the SDXL
    block names, base first, and `weighttoxl`, which makes 20 numbers of an SD1 list of
    26 by leaving six out. sd-mecha 1.1.8: the 21st number is the weight of the VAE.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from release.errors import RecipeError, visible
from release.recipe.cells import TARGET_PARTS, Cell, Part
from release.recipe.names import suggestion
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

WEIGHT_PARTS: Final = tuple(name for name in TARGET_PARTS if name != Part.UNET.value)
"""Parts that named weights may give a weight of their own."""

VAE_LENGTH: Final = len(WEIGHT_BLOCKS) + 1
SD1_LENGTH: Final = 26
SD1_ONLY: Final = ("IN09", "IN10", "IN11", "OUT09", "OUT10", "OUT11")
"""Blocks of an SD1 list that SDXL does not have."""

ORDER: Final = "BASE, IN00..IN08, M00, OUT00..OUT08"
_SD1_PLACES: Final = (*range(10), *range(13, 23))
"""Where a list of 26 has BASE, IN00..IN08, M00 and OUT00..OUT08."""

_NUMBER: Final = re.compile(r"-?(\d+(\.\d*)?|\.\d+)", re.ASCII)
_ELEMENT: Final = re.compile(r"[^,;]*")
_COUNT_HINTS: Final = {
    19: "19 numbers: the first, BASE, is probably missing; put it in front",
    25: "25 numbers: an SD1 list of 26 without BASE? put BASE in front",
}


@dataclass(frozen=True, slots=True)
class BlockWeights:
    """The weights of one block merge.

    Attributes:
        listed: One for every block of `WEIGHT_BLOCKS`, in that order.
        n_listed: How many numbers were written as a list; 1 for a number that counts
            for every block not named, 0 if every block is named.
        extra: The weight of the block beyond the 20, None if none was written.
        parts: Weights of parts, which count before those of blocks.
        left_out: Weights of `SD1_ONLY` in a list of 26; else empty.
    """

    listed: tuple[Fraction, ...]
    n_listed: int = len(WEIGHT_BLOCKS)
    extra: Fraction | None = None
    parts: tuple[tuple[str, Fraction], ...] = ()
    left_out: tuple[Fraction, ...] = ()

    def of(self, cell: Cell) -> Fraction:
        """Return the weight of a cell; 0 in a block that no weight was written for."""
        for name, weight in self.parts:
            if cell.part in TARGET_PARTS[name]:
                return weight
        if cell.block in WEIGHT_BLOCKS:
            return self.listed[WEIGHT_BLOCKS.index(cell.block)]
        return Fraction(0) if self.extra is None else self.extra

    def by_name(self) -> dict[str, Fraction]:
        """Return the weights by the name of their block or part, lists decoded."""
        extra = {} if self.extra is None else {"VAE": self.extra}
        listed = dict(zip(WEIGHT_BLOCKS, self.listed, strict=True))
        return {**listed, **extra, **dict(self.parts)}


@dataclass(frozen=True, slots=True)
class _Element:
    """One weight as written: `column` counts from 1 in the expression."""

    name: str
    number: str
    column: int


def read_weights(text: str, *, place: Place, column: int) -> BlockWeights:
    """Return the weights that a text in a `mbw` call gives, exact.

    How many numbers a convention takes is not asked here; see `Convention.refusal`.

    Args:
        text: Without quotes.
        place: The expression that errors point into.
        column: Of the text's first character in it, from 1.

    Raises:
        RecipeError: Code "block-weights": a count that no tool takes, an element that
            is not a plain decimal, an unknown name or one given twice, a block without
            a weight. The message says which.
    """
    elements = _elements(text, place=place, column=column)
    numbers = [element for element in elements if not element.name]
    named = elements[len(numbers) :]
    listed, extra, left_out = _listed(numbers, named, place=place, column=column)
    overrides = _overrides(named, place)
    blocks = dict(zip(WEIGHT_BLOCKS, listed, strict=True)) if listed else {}
    blocks |= {name: overrides[name] for name in WEIGHT_BLOCKS if name in overrides}
    missing = [block for block in WEIGHT_BLOCKS if block not in blocks]
    if missing:
        raise place.error(
            column,
            f"got no weight for {', '.join(missing)}",
            code="block-weights",
            hint="put the weight of the blocks that are not named in front:"
            f" '0, {visible(text.strip(), 60)}'",
        )
    return BlockWeights(
        listed=tuple(blocks[block] for block in WEIGHT_BLOCKS),
        n_listed=len(numbers),
        extra=overrides.get("VAE", extra),
        parts=tuple((n, overrides[n]) for n in WEIGHT_PARTS if n in overrides),
        left_out=left_out,
    )


def length_hint(n_listed: int) -> str:
    """Return what to do about a list that another convention would take."""
    if n_listed == VAE_LENGTH:
        return (
            "the last is probably VAE, as in sd-mecha's lists: leave it out and write"
            " '...; vae=0.1', or take the convention sd-mecha"
        )
    if n_listed == SD1_LENGTH:
        return (
            "26 numbers are an SD1 list: leave out IN09..IN11 and OUT09..OUT11, which"
            " SuperMerger does by itself"
        )
    return "write '...; vae=0.1' for the weight of the VAE"


def _elements(text: str, *, place: Place, column: int) -> list[_Element]:
    """Return the elements; numbers come first, and only a name follows a ";"."""
    elements: list[_Element] = []
    position = 0
    while position <= len(text):
        match = _ELEMENT.match(text, position)
        raw = match.group() if match else ""
        at = column + position + len(raw) - len(raw.lstrip())
        name, equals, number = raw.partition("=")
        if not equals:
            name, number = "", raw
        element = _Element(name.strip(), number.strip(), at)
        after_semicolon = position > 0 and text[position - 1] == ";"
        needs_name = after_semicolon or bool(elements and elements[-1].name)
        if needs_name and not equals and raw.strip():
            raise place.error(
                at,
                f"got '{visible(raw.strip(), MAX_NUMBER_LENGTH)}' after named weights"
                " or a ';', expected NAME=NUMBER",
                code="block-weights",
                hint=f"numbers come first, in the order {ORDER}",
            )
        if equals and not element.name:
            raise _bad_number(element, "a weight", place)
        elements.append(element)
        position += len(raw) + 1
    return elements


def _listed(
    numbers: Sequence[_Element],
    named: Sequence[_Element],
    *,
    place: Place,
    column: int,
) -> tuple[tuple[Fraction, ...], Fraction | None, tuple[Fraction, ...]]:
    """Return the 20 weights of the list, the 21st, and what an SD1 list has more."""
    count = len(numbers)
    if not count:
        return (), None, ()
    if count == 1 and named:
        (value,) = _values(numbers, ("every block",), place)
        return (value,) * len(WEIGHT_BLOCKS), None, ()
    if count == len(WEIGHT_BLOCKS):
        return _values(numbers, WEIGHT_BLOCKS, place), None, ()
    if count == VAE_LENGTH:
        *listed, extra = _values(numbers, (*WEIGHT_BLOCKS, "VAE"), place)
        return tuple(listed), extra, ()
    if count == SD1_LENGTH:
        values = _values(numbers, _sd1_blocks(), place)
        listed = [values[at] for at in _SD1_PLACES]
        rest = tuple(v for at, v in enumerate(values) if at not in _SD1_PLACES)
        return tuple(listed), None, rest
    is_empty = count == 1 and not numbers[0].number
    raise _wrong_count(0 if is_empty else count, place=place, column=column)


def _sd1_blocks() -> tuple[str, ...]:
    inner = (f"IN{index:02}" for index in range(12))
    outer = (f"OUT{index:02}" for index in range(12))
    return (BASE, *inner, MIDDLE, *outer)


def _values(
    elements: Sequence[_Element], owners: Sequence[str], place: Place
) -> tuple[Fraction, ...]:
    return tuple(
        _value(element, owner, place)
        for element, owner in zip(elements, owners, strict=True)
    )


def _overrides(named: Sequence[_Element], place: Place) -> Mapping[str, Fraction]:
    known = (*WEIGHT_BLOCKS, "VAE", *WEIGHT_PARTS)
    found: dict[str, Fraction] = {}
    for element in named:
        if element.name not in known:
            is_unet = element.name == Part.UNET.value
            raise place.error(
                element.column,
                f"got a weight of '{visible(element.name, 40)}', expected one of a"
                " block or part",
                code="block-weights",
                hint="the U-Net has a weight for each of its blocks: IN00..OUT08"
                if is_unet
                else suggestion(element.name, known),
            )
        if element.name in found:
            raise place.error(
                element.column,
                f"got the weight of {element.name} twice",
                code="block-weights",
                hint="leave one of the two out",
            )
        found[element.name] = _value(element, element.name, place)
    return found


def _value(element: _Element, owner: str, place: Place) -> Fraction:
    number = element.number
    if len(number) > MAX_NUMBER_LENGTH or not _NUMBER.fullmatch(number):
        raise _bad_number(element, f"the weight of {owner}", place)
    return Fraction(number)


def _bad_number(element: _Element, what: str, place: Place) -> RecipeError:
    shown = visible(element.number, MAX_NUMBER_LENGTH)
    got = f"'{shown}'" if shown else "nothing"
    return place.error(
        element.column,
        f"got {got} as {what}, expected a plain decimal",
        code="block-weights",
        hint=f"the order is {ORDER}",
    )


def _wrong_count(count: int, *, place: Place, column: int) -> RecipeError:
    hint = _COUNT_HINTS.get(count, "give one number for every block, in this order")
    if count == 1:
        hint = "lerp(a, b, t) takes one number; here others follow it: '0, OUT03=0.05'"
    return place.error(
        column,
        f"got {count or 'no'} block weight{'' if count == 1 else 's'}, expected"
        f" {len(WEIGHT_BLOCKS)} ({ORDER})",
        code="block-weights",
        hint=hint,
    )
