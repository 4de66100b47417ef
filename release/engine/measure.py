"""What a variant lost against the float64 result, taken while it is written."""

import math
from typing import Final

import numpy as np
import torch
from torch import Tensor

from release.engine.results import Deviation
from release.numeric.cast import TORCH_DTYPES, widen

_FP8_LIMITS: Final = {
    TORCH_DTYPES[dtype]: dtype.finite_max for dtype in TORCH_DTYPES if dtype.is_fp8
}
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
    """

    __slots__ = ("exact", "square_sum", "start", "value")

    def __init__(self, start: int, value: Tensor, exact: Tensor | None) -> None:
        self.start = start
        self.value = value
        self.exact = exact
        self.square_sum = _square_sum(value)

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
        return _magnitude(self.value)


def measure(chunk: Chunk, rounded: Tensor, back: Tensor, *, into: Deviation) -> None:
    """Add what one chunk lost to the sums of its tensor.

    The reference is the result in float32 (rounded to odd), which is 2**-24 from the
    float64 one: far below the figures printed.

    Args:
        chunk: The reference. Not modified.
        rounded: The same elements in the variant's dtype.
        back: Flat float32 scratch of the same length, overwritten.
        into: Where the figures are added.
    """
    into.square_sum += chunk.square_sum
    _difference(chunk, rounded, out=back)
    worst = _magnitude(back)
    if worst == 0.0:
        return
    into.max_abs_error = max(into.max_abs_error, worst)
    into.error_square_sum += _square_sum(back)
    limit = _FP8_LIMITS.get(rounded.dtype)
    if limit is not None and chunk.reaches(limit):
        into.clamped += int((chunk.value.abs() > limit).sum())
    into.flushed += _n_flushed(chunk.value, rounded)


def _magnitude(values: Tensor) -> float:
    # amin and amax are vectorised better than aminmax.
    return max(float(values.amax()), -float(values.amin()))


def _square_sum(values: Tensor) -> float:
    total = float(torch.dot(values, values))
    if _SQUARES_MIN < total < math.inf:
        return total
    wide = values.to(torch.float64)
    return float(torch.dot(wide, wide))


def _difference(chunk: Chunk, rounded: Tensor, *, out: Tensor) -> None:
    if chunk.exact is not None and rounded.dtype in {torch.float32, torch.float64}:
        out.copy_(chunk.exact - rounded)
        return
    widen(rounded, out)
    torch.sub(chunk.value, out, out=out)


def _n_flushed(value: Tensor, rounded: Tensor) -> int:
    """Count the elements that were not zero and are now."""
    width = rounded.element_size()
    bits = rounded.view(_INTEGERS[width])
    signless = bits & ((1 << (8 * width - 1)) - 1)
    if int(signless.amin()) != 0:
        return 0
    # numpy counts integers several times faster than torch does.
    n_zeros = rounded.numel() - int(np.count_nonzero(signless.numpy()))
    return n_zeros - (value.numel() - int(torch.count_nonzero(value)))
