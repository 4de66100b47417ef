"""Lists of block weights as SuperMerger records them: 20, 26 or 110 numbers.

Source:
    hako-mikan/sd-webui-supermerger 0b1c491, `scripts/mergers/mergers.py`:
    `weighttoxl`, and the names of the extended list.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from release.errors import RecipeError
from release.recipe.imports.embedded import Weights
from release.recipe.imports.foreign import exact
from release.recipe.weights import BASE, MIDDLE, WEIGHT_BLOCKS

SD1_LENGTH: Final = 26
FLUX_LENGTH: Final = 61
EXTENDED_LENGTH: Final = 110

_SD1_PLACES: Final = (*range(10), *range(13, 23))
"""Where a list of 26 has the 20 blocks of SDXL."""

_TRANSFORMERS: Final = {
    "IN": {4: 2, 5: 2, 7: 10, 8: 10},
    "OUT": dict.fromkeys((0, 1, 2), 10) | dict.fromkeys((3, 4, 5), 2),
}
"""Transformer blocks in the attention of each input and output block."""
_UPSAMPLERS: Final = frozenset({2, 5})


def read_list(text: str, *, place: str) -> tuple[Fraction, ...]:
    """Return the numbers of a comma separated list.

    Raises:
        RecipeError: Code "import-number" or "import-weights".
    """
    elements = text.split(",")
    if len(elements) > EXTENDED_LENGTH:
        raise _wrong_length(len(elements), place=place)
    return tuple(
        exact(element, place=f"{place}, number {index}")
        for index, element in enumerate(elements, 1)
    )


def sdxl_weights(
    numbers: Sequence[Fraction], *, place: str
) -> tuple[Weights, tuple[str, ...]]:
    """Return a list of 20, 26 or 110 numbers as weights, with notes.

    Raises:
        RecipeError: Code "import-weights": another length, or an extended list whose
            numbers differ within one block.
    """
    if len(numbers) == len(WEIGHT_BLOCKS):
        return Weights(tuple(numbers)), ()
    if len(numbers) == SD1_LENGTH:
        note = (
            f"{place}: 26 numbers in the order of SD1; as SuperMerger does, those of"
            " IN09..IN11 and OUT09..OUT11 were left out"
        )
        return Weights(tuple(numbers[at] for at in _SD1_PLACES)), (note,)
    if len(numbers) == EXTENDED_LENGTH:
        note = (
            f"{place}: an extended list; its third number, IN0, reaches no tensor, and"
            " the VAE has the first number, not the last"
        )
        return _extended(numbers, place=place), (note,)
    raise _wrong_length(len(numbers), place=place)


def extended_names() -> tuple[tuple[str, str], ...]:
    """Return the 110 names of an extended list, each with the block or part it is in.

    "" stands for a name that reaches no tensor.
    """
    return (
        ("CLIPL", BASE),
        ("CLIPG", "clip_g"),
        ("IN0", ""),
        *_side("IN"),
        *((name, MIDDLE) for name in ("MID00", "MID10")),
        *((f"MID10{index}", MIDDLE) for index in range(10)),
        ("MID20", MIDDLE),
        *_side("OUT"),
        ("OUT9", "out"),
        ("TIME", "time_embed"),
        ("LABEL", "label_emb"),
        ("VAE", ""),
    )


def _side(side: str) -> tuple[tuple[str, str], ...]:
    names: list[tuple[str, str]] = []
    for index in range(9):
        block = f"{side}{index:02}"
        count = _TRANSFORMERS[side].get(index, 0)
        attention = [f"{side}{index}1"] if count else []
        inner = [f"{side}{index}1{at}" for at in range(count)]
        above = side == "OUT" and index in _UPSAMPLERS
        upsampler = [f"{side}{index}2"] if above else []
        own = [f"{side}{index}0", *attention, *inner, *upsampler]
        names += [(name, block) for name in own]
    return tuple(names)


def _extended(numbers: Sequence[Fraction], *, place: str) -> Weights:
    found: dict[str, tuple[str, Fraction]] = {}
    for (name, block), number in zip(extended_names(), numbers, strict=True):
        first, known = found.setdefault(block, (name, number))
        if block and known != number:
            raise RecipeError(
                f"{place}: {first} and {name} have different weights in the block"
                f" {block}, and a recipe has one for each block",
                code="import-weights",
                hint="a recipe has 20 blocks; the parts of one cannot differ",
            )
    listed = tuple(found[block][1] for block in WEIGHT_BLOCKS)
    clip_g = found["clip_g"][1]
    homes = {"out": "OUT08", "time_embed": "IN00", "label_emb": "IN00"}
    parts = tuple(
        (part, found[part][1])
        for part, home in homes.items()
        if found[part][1] != found[home][1]
    )
    return Weights(listed, None if clip_g == listed[0] else clip_g, parts)


def _wrong_length(count: int, *, place: str) -> RecipeError:
    kind = "the list of a Flux merge" if count == FLUX_LENGTH else "of no known kind"
    return RecipeError(
        f"{place}: got {count} block weights, {kind}; expected 20, 26 or 110",
        code="import-weights",
        hint="only SDXL is merged; its lists have 20 numbers, BASE first",
    )
