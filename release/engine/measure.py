"""What a variant lost against the float64 result, taken while it is written."""

import math
from typing import Final

import numpy as np
import torch
from torch import Tensor

from release.engine.results import Deviation
from release.numeric.cast import widen

_INTEGERS: Final = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_ROUNDING_MARGIN: Final = 0.99
"""Room for the rounding of a float32 sum of squares."""
_SQUARES_MIN: Final = 1e-30
"""Below it, squares may have been lost as float32 subnormals."""


class Chunk:
    """Some consecutive elements of a result.

    Args:
        start: Number of the first element in its tensor.
        value: Flat float32: the result, rounded to odd.
        exact: The float64 that `value` was made from; None where float32 holds the
            result exactly.
        source: The same values as they were read, in the dtype of the file; None where
            they were computed.
    """

    __slots__ = ("exact", "source", "square_sum", "start", "value")

    def __init__(
        self,
        start: int,
        value: Tensor,
        exact: Tensor | None,
        source: Tensor | None = None,
    ) -> None:
        self.start = start
        self.value = value
        self.exact = exact
        self.source = source
        self.square_sum = square_sum(value)

    @property
    def is_finite(self) -> bool:
        """Whether there is no NaN and no infinity; squares carry both into the sum."""
        return math.isfinite(self.square_sum)

    def reaches(self, limit: float) -> bool:
        """Whether some magnitude is `limit` or more.

        No element is larger than the root of the sum of squares, which settles the
        question for nearly every chunk without looking at the elements again.
        """
        if self.square_sum < (_ROUNDING_MARGIN * limit) ** 2:
            return False
        return self.magnitude() >= limit

    def magnitude(self) -> float:
        """Return the greatest absolute value."""
        return magnitude(self.value)


def measure(
    chunk: Chunk,
    rounded: Tensor,
    back: Tensor,
    *,
    into: Deviation,
    limit: float | None = None,
    scale: float = 1.0,
) -> None:
    """Add what one chunk lost to the sums of its tensor.

    The reference is the result in float32 (rounded to odd), which is 2**-24 from the
    float64 one: far below the figures printed.

    Args:
        chunk: The reference. Not modified.
        rounded: The same elements in the variant's dtype.
        back: Flat float32 scratch of the same length, overwritten.
        into: Where the figures are added.
        limit: Magnitudes beyond it were clamped to it; None if nothing was.
        scale: What a consumer multiplies `rounded` by.
    """
    into.square_sum += chunk.square_sum
    _difference(chunk, rounded, scale, out=back)
    worst = magnitude(back)
    if worst == 0.0:
        return
    into.max_abs_error = max(into.max_abs_error, worst)
    into.error_square_sum += square_sum(back)
    if limit is not None and scale == 1.0 and chunk.reaches(limit):
        into.clamped += int((chunk.value.abs() > limit).sum())
    into.flushed += _n_flushed(chunk.value, rounded)


def magnitude(values: Tensor) -> float:
    """Return the greatest absolute value; `values` is not empty."""
    # amin and amax are vectorised better than aminmax.
    return max(float(values.amax()), -float(values.amin()))


def square_sum(values: Tensor) -> float:
    """Return the sum of squares of flat float32 or float64 values.

    It is not finite if a value is not; what float32 cannot sum is summed in float64.
    """
    total = float(torch.dot(values, values))
    if _SQUARES_MIN < total < math.inf:
        return total
    wide = values.to(torch.float64)
    return float(torch.dot(wide, wide))


def _difference(chunk: Chunk, rounded: Tensor, scale: float, *, out: Tensor) -> None:
    if chunk.exact is not None and rounded.dtype in {torch.float32, torch.float64}:
        out.copy_(chunk.exact - rounded)
        return
    widen(rounded, out, has_nan=False)
    if scale != 1.0:
        out.mul_(scale)
    torch.sub(chunk.value, out, out=out)


def _n_flushed(value: Tensor, rounded: Tensor) -> int:
    """Count the elements that were not zero and are now."""
    width = rounded.element_size()
    bits = rounded.view(_INTEGERS[width])
    signless = bits & ((1 << (8 * width - 1)) - 1)
    if int(signless.amin()) != 0:
        return 0
    # numpy counts integers and truth values several times faster than torch does.
    n_kept = int(np.count_nonzero(signless.numpy()))
    return int(np.count_nonzero(value.to(torch.bool).numpy())) - n_kept
