"""What a layout says: which weights are fp8 and what multiplies them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from release.numeric.dtype import Dtype

PLAIN: Final = "plain"
"""Name of the layout without fp8 weights."""

PLAIN_FP8: Final = "plain-fp8"
"""Name of the layout whose fp8 weights are the values that they store."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How a weight's scale tensor spreads over it.

    Element (r, c) of the weight, seen as (out, rest), is multiplied by element
    (r // rows, c // columns) of the scale, seen as a grid.

    Attributes:
        name: The scale tensor; F32, F16 or BF16.
        rows: Rows of the weight that share a scale, at least 1.
        columns: Columns of the weight that share a scale, at least 1. A scale of one
            element has the rows and columns of the whole weight.
    """

    name: str
    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Layout:
    """How the fp8 weights of one checkpoint are to be read.

    Attributes:
        name: Stable word, such as "plain" or "comfy-scaled".
        title: The same in one line for people.
        scales: Weight -> its scale, for every weight that has one.
        stored_as: Weight -> fp8 dtype, for weights whose U8 bytes are fp8.
        auxiliary: Tensors that only say how to read others: scales, markers.
        metadata_keys: Header keys that are no longer true once weights are
            dequantised.
        warnings: One line each, beginning with a stable word.
    """

    name: str
    title: str
    scales: Mapping[str, Scale]
    stored_as: Mapping[str, Dtype]
    auxiliary: frozenset[str]
    metadata_keys: frozenset[str]
    warnings: tuple[str, ...]

    @property
    def is_scaled(self) -> bool:
        """Whether fp8 weights have scales, or mean something else than they store."""
        return self.name not in {PLAIN, PLAIN_FP8}

    @property
    def has_fp8(self) -> bool:
        """Whether there are fp8 weights at all."""
        return self.name != PLAIN


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return (out, rest) of a weight: its first dimension and all others in one."""
    if not shape:
        return 1, 1
    return shape[0], math.prod(shape[1:])


def grid_shape(shape: tuple[int, ...], scale: Scale) -> tuple[int, int]:
    """Return rows and columns of the grid that `scale` is for a weight of `shape`."""
    out, rest = matrix_shape(shape)
    return -(-out // scale.rows), -(-rest // scale.columns)
