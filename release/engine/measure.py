"""What a variant lost against the float64 result, taken while it is written."""

import math
from collections.abc import Iterable
from typing import Final

import torch
from torch import Tensor

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
        low, high = torch.aminmax(self.value)
        return max(float(high), -float(low))


class Deviation:
    """Sums over the elements of a tensor, or of several.

    The reference is the result in float32 (rounded to odd), which is 2**-24 from the
    float64 one: far below the figures printed. Chunks are added in file order, so the
    figures do not depend on the number of threads.
    """

    __slots__ = (
        "clamped",
        "error_square_sum",
        "flushed",
        "max_abs_error",
        "n_elements",
        "n_tensors",
        "square_sum",
    )

    def __init__(self, n_elements: int = 0, *, n_tensors: int = 1) -> None:
        self.n_tensors = n_tensors
        self.n_elements = n_elements
        self.max_abs_error = 0.0
        self.error_square_sum = 0.0
        self.square_sum = 0.0
        self.clamped = 0
        self.flushed = 0

    def add(self, chunk: "Chunk", rounded: Tensor, back: Tensor) -> None:
        """Take one chunk into account.

        Args:
            chunk: The reference. Not modified.
            rounded: The same elements in the variant's dtype.
            back: Flat float32 scratch of the same length, overwritten.
        """
        self.square_sum += chunk.square_sum
        _difference(chunk, rounded, out=back)
        least, greatest = torch.aminmax(back)
        worst = max(float(greatest), -float(least))
        if worst == 0.0:
            return
        self.max_abs_error = max(self.max_abs_error, worst)
        self.error_square_sum += _square_sum(back)
        limit = _FP8_LIMITS.get(rounded.dtype)
        if limit is not None and chunk.reaches(limit):
            self.clamped += int((chunk.value.abs() > limit).sum())
        self.flushed += _n_flushed(chunk.value, rounded)

    @classmethod
    def total(cls, parts: Iterable["Deviation"]) -> "Deviation":
        """Return the sum of several, added in the order given."""
        whole = cls(n_tensors=0)
        for part in parts:
            whole.n_tensors += part.n_tensors
            whole.n_elements += part.n_elements
            whole.max_abs_error = max(whole.max_abs_error, part.max_abs_error)
            whole.error_square_sum += part.error_square_sum
            whole.square_sum += part.square_sum
            whole.clamped += part.clamped
            whole.flushed += part.flushed
        return whole

    @property
    def snr_db(self) -> str:
        """Signal-to-noise ratio 20 log10(|w| / |w - w'|) in dB, "inf" without error."""
        if self.error_square_sum == 0.0:
            return "inf"
        if self.square_sum == 0.0:
            return "0.00"
        return f"{10 * math.log10(self.square_sum / self.error_square_sum):.2f}"


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
    n_zeros = rounded.numel() - int(torch.count_nonzero(signless))
    return n_zeros - (value.numel() - int(torch.count_nonzero(value)))
