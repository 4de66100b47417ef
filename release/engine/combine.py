"""The arithmetic of a merge on one chunk: c1*x1 + c2*x2 + ..., operand by operand.

Each product and each sum is a float64 operation of its own (no fused multiply-add,
whose use would depend on the processor), in the order of the operands.

While float32 can be shown to give the very same numbers it is used instead, at a third
of the cost. Every F16 value is a multiple of 2**-24 with at most 11 significant bits.
If the coefficients are multiples of 2**-s with few significant bits, float32 holds
every product, and every sum is a multiple of 2**-(24 + s). A sum that float32 finds to
be below 2**-s is below it in truth, since rounding is monotone; so it has at most 24
significant bits, and nothing was rounded. The first sum that is not below moves the
chunk to float64.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from release.numeric.cast import sticky_float32, widen

_MAX_GRID_BITS: Final = 12
_MAX_STEPS: Final = 2.0**13
"""Coefficients have 13 significant bits at most: with F16's 11 that makes 24."""


def exact_limit(coefficients: Sequence[float]) -> float:
    """Return below which sums of F16 values are exact in float32; 0 for never."""
    grid = max(value.as_integer_ratio()[1] for value in coefficients).bit_length() - 1
    if grid > _MAX_GRID_BITS:
        return 0.0
    steps = max(abs(value) for value in coefficients) * 2.0**grid
    if steps >= _MAX_STEPS:
        return 0.0
    return 2.0**-grid


class Combiner:
    """Reused buffers for the chunks of one thread.

    Args:
        chunk_elements: Elements of the longest chunk.
    """

    def __init__(self, chunk_elements: int) -> None:
        self._narrow = torch.empty(chunk_elements, dtype=torch.float32)
        self._next = torch.empty_like(self._narrow)
        self._source = torch.empty_like(self._narrow)
        self._wide = torch.empty(chunk_elements, dtype=torch.float64)
        self._term = torch.empty_like(self._wide)
        self._count = 0
        self._limit = 0.0
        self._n_added = 0
        self._is_wide = False

    def begin(self, count: int, coefficients: Sequence[float]) -> None:
        """Begin a chunk of `count` elements, a sum with these coefficients, none 0."""
        self._count = count
        self._n_added = 0
        self._is_wide = False
        self._limit = exact_limit(coefficients) if coefficients else 0.0

    def add(self, raw: Tensor, coefficient: float) -> None:
        """Add the next operand, multiplied by its coefficient.

        Args:
            raw: Flat, as read from the checkpoint; may be overwritten afterwards.
            coefficient: As given to `begin`.
        """
        if raw.dtype is torch.float64:
            self._add_wide(raw, coefficient)
        elif self._n_added == 0 and coefficient == 1.0:
            widen(raw, self._narrow[: self._count])
        else:
            source = self._source[: self._count]
            widen(raw, source)
            if raw.dtype is not torch.float16 or not self._add_narrow(
                source, coefficient
            ):
                self._add_wide(source, coefficient)
        if raw.dtype is not torch.float16:
            self._limit = 0.0
        self._n_added += 1

    def finish(self) -> tuple[Tensor | None, Tensor]:
        """Return the sum.

        Returns:
            The float64 result, None where float32 holds it exactly; and the result in
            float32, rounded to odd where it is not exact. Both are reused buffers.
        """
        narrow, wide = self._narrow[: self._count], self._wide[: self._count]
        if self._n_added == 0:
            return None, narrow.zero_()
        if not self._is_wide:
            return None, narrow
        sticky_float32(wide, narrow, self._term[: self._count].view(torch.int64))
        return wide, narrow

    def _add_narrow(self, source: Tensor, coefficient: float) -> bool:
        """Add in float32 if that is exact; return whether it was done."""
        if self._is_wide or self._limit == 0.0:
            return False
        total = self._narrow[: self._count]
        if self._n_added == 0:
            torch.mul(source, coefficient, out=total)
            return True
        found = self._next[: self._count]
        # The product is exact, so a fused multiply-add changes nothing here.
        torch.add(total, source, alpha=coefficient, out=found)
        if not -self._limit < float(found.amin()) <= float(found.amax()) < self._limit:
            return False
        self._narrow, self._next = self._next, self._narrow
        return True

    def _add_wide(self, source: Tensor, coefficient: float) -> None:
        """Add in float64; a factor of 1 or -1 is exact, and its product left out."""
        total = self._wide[: self._count]
        if not self._is_wide and self._n_added > 0:
            total.copy_(self._narrow[: self._count])
        self._is_wide = True
        term = total if self._n_added == 0 else self._term[: self._count]
        term.copy_(source)
        if coefficient not in {1.0, -1.0}:
            term.mul_(coefficient)
        elif self._n_added == 0 and coefficient == -1.0:
            term.neg_()
        if self._n_added == 0:
            return
        if coefficient == -1.0:
            total.sub_(term)
        else:
            total.add_(term)
