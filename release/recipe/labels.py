"""Blocks and their parts in few words: what tables of coefficients call their rows."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import pairwise

from release.recipe.rows import CellRows, Row
from release.recipe.weights import WEIGHT_BLOCKS

_Key = tuple[tuple[str, Fraction], ...]
"""The sorted items of a row."""


def grouped(rows: CellRows) -> list[tuple[str, Row]]:
    """Return the different rows with the blocks that have each, in a list's order.

    Cells of one block with equal rows are one: the block's name if these are all of its
    cells, else with the parts, such as "BASE/clip_l+clip_g".
    """
    blocks = {
        cell.block: [each for each in rows if each.block == cell.block] for cell in rows
    }
    labels: dict[_Key, list[str]] = {}
    found: dict[_Key, Row] = {}
    for block, cells in blocks.items():
        parts: dict[_Key, list[str]] = {}
        for cell in cells:
            key = tuple(sorted(rows[cell].items()))
            found[key] = rows[cell]
            parts.setdefault(key, []).append(cell.part.value)
        for key, names in parts.items():
            label = block if len(parts) == 1 else f"{block}/{'+'.join(names)}"
            labels.setdefault(key, []).append(label)
    return [
        (block_ranges(names, WEIGHT_BLOCKS), found[key])
        for key, names in labels.items()
    ]


def block_ranges(blocks: Iterable[str], order: Iterable[str]) -> str:
    """Return blocks in order, neighbours joined: "BASE, IN02, OUT03-OUT08".

    Args:
        blocks: Names, each in `order` or appended after it alphabetically. A part
            of a block, such as BASE/vae, has its block's place.
        order: All names that have a place.
    """
    places = {name: at for at, name in enumerate(order)}

    def place(name: str) -> tuple[int, str]:
        return places.get(name.partition("/")[0], len(places)), name

    names = sorted(blocks, key=place)
    runs = [[name] for name in names[:1]]
    for before, name in pairwise(names):
        if _follows(before, name, places):
            runs[-1].append(name)
        else:
            runs.append([name])
    return ", ".join(
        part for run in runs for part in (run if len(run) < 3 else [_span(run)])
    )


def _span(run: list[str]) -> str:
    return f"{run[0]}-{run[-1]}"


def _follows(before: str, name: str, places: Mapping[str, int]) -> bool:
    """Whether two blocks are neighbours of one kind, such as IN03 and IN04."""
    if before[:-2] != name[:-2] or before not in places or name not in places:
        return False
    return places[name] == places[before] + 1
