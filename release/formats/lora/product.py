"""Products of matrices that are the same on every machine.

A library for matrices adds the terms of an element in an order that depends on the
processor, on the number of threads and on how a matrix is cut. That is harmless only
where no sum is ever rounded. So a product is computed as one or three products of
matrices whose every sum fits into the 53 bits of a float64; what order it is added in,
and whether with fused multiply-adds, then cannot show. All that is rounded is computed
element by element.

With r terms per element, ceil(log2 r) bits are for the sum, and the others are shared
by the two factors. Factors in F16 mostly fit as they are: multiples of 2**-24, with
magnitudes well below 1. Others are cut in two, each part a whole multiple of its own
power of 2:

    left = a1 + a2 + rest,  right = b1 + b2 + rest
    left @ right ~ (a1 @ b1) + ((a1 @ b2) + (a2 @ b1))

All products on the right are exact. What is left out is less than r * 2**(3 - bits)
of the largest left times the largest right magnitude, where bits is 46 for a rank of
128: far below the 24 bits of the F32 that the result becomes.

Source:
    Ozaki, Ogita, Oishi, Rump, "Error-free transformations of matrix multiplication by
    using fast routines of matrix multiplication", Numer. Algorithms 59 (2012).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from release.formats.lora.values import Float64Array

_SUM_BITS: Final = 53
_BLOCK_ROWS: Final = 64
_BLOCK_TERMS: Final = 2**18
"""Multiply-adds of one call. OpenBLAS starts threads of its own for more, and those of
several workers hinder one another."""


@dataclass(frozen=True, slots=True)
class Factor:
    """A matrix, and what is known of its values without looking at them.

    Attributes:
        values: Finite, two dimensions.
        bits: Significant bits of each value at most.
        lowest: All values are multiples of 2**lowest.
    """

    values: Float64Array
    bits: int = 53
    lowest: int = -1074


class ExactProduct:
    """`left @ right`, by rows; several threads may ask at once.

    Args:
        left: `(rows, r)`.
        right: `(r, columns)`.
    """

    def __init__(self, left: Factor, right: Factor) -> None:
        room = _SUM_BITS - (left.values.shape[1] - 1).bit_length()
        self._left, self._right = left.values, right.values
        self._left_low: Float64Array | None = None
        self._right_low: Float64Array | None = None
        if _span(left) + _span(right) > room:
            self._left, self._left_low = _halves(left.values, room // 2)
            self._right, self._right_low = _halves(right.values, room // 2)

    def rows(self, start: int, stop: int) -> Float64Array:
        """Return rows `start` to `stop` (excluded), fresh."""
        found = _multiply(self._left[start:stop], self._right)
        if self._left_low is not None and self._right_low is not None:
            low = _multiply(self._left[start:stop], self._right_low)
            low += _multiply(self._left_low[start:stop], self._right)
            found += low
        # A sum of zeros is +0 or -0 depending on its order; this makes it +0.
        found += 0.0
        return found


def _multiply(left: Float64Array, right: Float64Array) -> Float64Array:
    """Return `left @ right` in blocks that are computed on this thread."""
    found = np.empty((left.shape[0], right.shape[1]))
    n_terms = left.shape[1] * min(_BLOCK_ROWS, max(left.shape[0], 1))
    width = max(_BLOCK_TERMS // max(n_terms, 1), 1)
    for row in range(0, left.shape[0], _BLOCK_ROWS):
        some = slice(row, row + _BLOCK_ROWS)
        for column in range(0, right.shape[1], width):
            block = slice(column, column + width)
            np.matmul(left[some], right[:, block], out=found[some, block])
    return found


def _exponent(values: Float64Array) -> int:
    """Return the least e for which all magnitudes are below 2**e; 0 for no values."""
    if not values.size:
        return 0
    return int(np.frexp(max(values.max(), -values.min()))[1])


def _span(factor: Factor) -> int:
    """Return over how many bits the values spread at most.

    From the first bit of the largest one to the last bit of the smallest one.
    """
    magnitudes = np.abs(factor.values)
    smallest = float(magnitudes.min(where=magnitudes > 0.0, initial=np.inf))
    if smallest == np.inf:
        return 0
    last = int(np.frexp(smallest)[1]) - factor.bits
    return _exponent(factor.values) - max(last, factor.lowest)


def _halves(values: Float64Array, bits: int) -> tuple[Float64Array, Float64Array]:
    """Return two matrices that make up `values` but for smaller rests.

    They are multiples of 2**(e - bits) and of 2**(e - 2 * bits), where e is the
    exponent of the largest value.
    """
    grid = _exponent(values) - bits
    high = _on_grid(values, grid)
    return high, _on_grid(values - high, grid - bits)


def _on_grid(values: Float64Array, exponent: int) -> Float64Array:
    """Return the nearest multiples of 2**exponent; halves go to the even one."""
    found = np.ldexp(values, -exponent)
    np.rint(found, out=found)
    return np.ldexp(found, exponent)
