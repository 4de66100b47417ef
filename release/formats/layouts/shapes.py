"""Which shapes a scale may have, and how each spreads over its weight.

Three shapes can be read in one way only and are always accepted, for a weight seen as
(out, rest): one element; (out, 1, ...), one scale per row; (out, n, 1), n blocks per
row. Others have a meaning only where a layout gives them one.
"""

import math
from dataclasses import dataclass
from typing import Final

from release.formats.layouts.kinds import matrix_shape

BLOCK_MIN: Final = 16
"""Smallest side of a block; finer grids are no smaller than what they scale."""

Block = tuple[int, int]
"""Rows and columns that share a scale."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The further shapes that a layout gives a meaning to.

    Attributes:
        vector: Whether (out,) is one scale per row. Programs that broadcast take it
            for one scale per column.
        block: Size of the blocks in a grid of (ceil(out / rows), ceil(rest / columns)).
        even_blocks: Whether a grid may have square blocks of any one size that
            divides the weight evenly.
    """

    vector: bool = False
    block: Block | None = None
    even_blocks: bool = False


ANY: Final = Reading(vector=True, block=(128, 128))
"""Every shape that LLM tools and trainers write."""


def fit(
    shape: tuple[int, ...], scale_shape: tuple[int, ...], reading: Reading
) -> Block | None:
    """Return the rows and columns that share a scale, or None if nothing fits.

    Args:
        shape: Of the weight.
        scale_shape: Of the scale tensor.
        reading: What else the layout allows.
    """
    out, rest = matrix_shape(shape)
    if math.prod(scale_shape) == 1:
        return max(out, 1), max(rest, 1)
    if not scale_shape or not all(scale_shape):
        return None
    if len(scale_shape) == 2 and reading.block is not None:
        rows, columns = reading.block
        if scale_shape == (-(-out // rows), -(-rest // columns)):
            return reading.block
    if scale_shape[0] == out and math.prod(scale_shape) == out:
        return (1, rest) if len(scale_shape) > 1 or reading.vector else None
    return _even_blocks(len(shape), (out, rest), scale_shape, reading)


def _even_blocks(
    rank: int, matrix: Block, scale_shape: tuple[int, ...], reading: Reading
) -> Block | None:
    """Return the size of blocks that divide the matrix without a remainder."""
    out, rest = matrix
    match scale_shape:
        case (n_rows, n_columns, 1) if rank == 2 and n_rows == out:
            block = (1, rest // n_columns)
        case (n_rows, n_columns) if reading.even_blocks:
            block = (out // n_rows, rest // n_columns)
            if block[0] != block[1]:
                return None
        case _:
            return None
    exact = block[0] * n_rows == out and block[1] * n_columns == rest
    return block if exact and block[1] >= BLOCK_MIN else None
