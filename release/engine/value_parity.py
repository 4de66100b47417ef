"""Two tensors of numbers, compared chunk by chunk."""

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from release.engine.jobs import Operand
from release.engine.likeness import Likeness
from release.engine.measure import magnitude, square_sum
from release.engine.read import Reader
from release.formats.checkpoint import Checkpoint
from release.numeric.cast import odd_float32, round_to, widen
from release.numeric.dtype import Dtype
from release.numeric.steps import bits_of, steps_between

_CHUNK_ELEMENTS: Final = 256 * 1024
_EXACT_INTEGERS: Final = 2.0**53
"""Below it, float64 tells any two integers apart."""
_FLOAT32_AT_MOST: Final = 32


class ValueParity:
    """Reused buffers and the loop over the chunks of two tensors; one for each thread.

    Args:
        inputs: Both checkpoints, A first.
        advance: Called with bytes read; may raise to stop.
    """

    def __init__(
        self, inputs: Sequence[Checkpoint], advance: Callable[[int], None]
    ) -> None:
        self._sides = [_Side(Reader(inputs, _CHUNK_ELEMENTS, advance)) for _ in "ab"]
        self._advance = advance
        self._buffers: dict[torch.dtype, Tensor] = {}
        self._is_same_form = False

    def run(self, operands: tuple[Operand, Operand]) -> Likeness:
        """Compare two tensors of as many elements, A first; both hold numbers."""
        for side, operand in zip(self._sides, operands, strict=True):
            side.begin(operand)
        dtypes = [operand.entry.dtype for operand in operands]
        likeness = Likeness(operands[0].entry.n_elements)
        likeness.max_ulp = 0 if all(each.is_arithmetic for each in dtypes) else None
        likeness.is_equal = self._is_same_form = _has_same_form(*self._sides)
        first, second = self._sides
        same_chunks = []
        for start in range(0, likeness.n_elements, _CHUNK_ELEMENTS):
            count = min(_CHUNK_ELEMENTS, likeness.n_elements - start)
            for side in self._sides:
                side.read(start, count)
                self._advance(side.raw.nbytes)
            if self._is_same_form and _has_same_bits(first.raw, second.raw):
                same_chunks.append((start, count))
            else:
                likeness.is_equal = False
                self._add(likeness, self._values(_work_dtype(dtypes), count))
        if not likeness.is_equal:
            for place in same_chunks:
                self._add_same(likeness, place, _work_dtype(dtypes))
        return likeness

    def _values(self, dtype: torch.dtype, count: int) -> Tensor:
        """Return three rows: A, B, and A - B."""
        if dtype not in self._buffers:
            self._buffers[dtype] = torch.empty(3, _CHUNK_ELEMENTS, dtype=dtype)
        rows = self._buffers[dtype][:, :count]
        for side, row in zip(self._sides, rows, strict=False):
            side.write_values(row)
        torch.sub(rows[0], rows[1], out=rows[2])
        return rows

    def _add(self, likeness: Likeness, rows: Tensor) -> None:
        """Add one chunk that has not the same bits on both sides."""
        error_square, n_not_finite, finite = square_sum(rows[2]), 0, None
        measured = rows
        if not math.isfinite(error_square):
            measured, finite, n_not_finite = self._masked(rows)
            error_square = square_sum(measured[2])
        n_differing = _count(measured[2] != 0) + n_not_finite
        likeness.n_not_finite += n_not_finite
        likeness.error_square += error_square
        likeness.square_a += square_sum(measured[0])
        likeness.square_b += square_sum(measured[1])
        likeness.max_abs = max(likeness.max_abs, magnitude(measured[2]))
        if likeness.max_ulp is None:
            # Too great for float64 to tell apart, so nothing is known of them.
            is_vague = (measured[0].abs() >= _EXACT_INTEGERS) & (measured[2] == 0)
            n_differing += _count(is_vague)
        likeness.n_differing += n_differing
        if n_differing:
            self._add_steps(likeness, rows, finite, n_differing, n_not_finite)

    def _masked(self, rows: Tensor) -> tuple[Tensor, Tensor, int]:
        """Return the rows in float64 without what is not finite.

        Returns:
            The rows, with 0 wherever a side is not finite; where both are; and at how
            many elements they differ because one is not.
        """
        first, second = self._sides
        wide = rows.to(torch.float64)
        finite = torch.isfinite(wide[:2]).all(dim=0)
        is_same = wide[0] == wide[1]
        both_nan = torch.isnan(wide[0]) & torch.isnan(wide[1])
        if first.raw.dtype == second.raw.dtype:
            both_nan &= bits_of(first.raw) == bits_of(second.raw)
        wide[:, ~finite] = 0.0
        torch.sub(wide[0], wide[1], out=wide[2])
        return wide, finite, _count(~(finite | is_same | both_nan))

    def _add_steps(
        self,
        likeness: Likeness,
        rows: Tensor,
        finite: Tensor | None,
        n_differing: int,
        n_not_finite: int,
    ) -> None:
        """Add what rounding one side to the other's form does not explain."""
        if likeness.max_ulp is None or n_not_finite:
            likeness.is_a_rounded = likeness.is_b_rounded = False
        if likeness.max_ulp is None:
            likeness.n_beyond_rounding += n_differing
            return
        first, second = self._sides
        coarse = 0 if first.coarseness < second.coarseness else 1
        is_rounded = [likeness.is_a_rounded, likeness.is_b_rounded]
        n_apart, furthest = self._steps(rows, toward=coarse, finite=finite)
        is_rounded[coarse] &= n_apart == 0
        likeness.n_beyond_rounding += n_apart + n_not_finite
        likeness.max_ulp = max(likeness.max_ulp, furthest)
        if is_rounded[1 - coarse]:
            n_back, _ = self._steps(rows, toward=1 - coarse, finite=finite)
            is_rounded[1 - coarse] = n_back == 0
        likeness.is_a_rounded, likeness.is_b_rounded = is_rounded

    def _steps(
        self, rows: Tensor, *, toward: int, finite: Tensor | None
    ) -> tuple[int, int]:
        """Compare one side with the other one rounded to its form.

        Returns:
            How many elements are apart, and by how many steps at most.
        """
        target, other = self._sides[toward], self._sides[1 - toward]
        rounded = other.raw if self._is_same_form else target.rounded(rows[1 - toward])
        if _has_same_bits(rounded, target.raw):
            return 0, 0
        steps = steps_between(rounded, target.raw)
        if finite is not None:
            steps.masked_fill_(~finite, 0)
        return _count(steps != 0), int(steps.max())

    def _add_same(
        self, likeness: Likeness, place: tuple[int, int], dtype: torch.dtype
    ) -> None:
        """Add the squares of a chunk with the same bits, in a second reading of A."""
        side, row = self._sides[0], torch.empty(place[1], dtype=dtype)
        side.read(*place)
        side.write_values(row)
        total = square_sum(row)
        if not math.isfinite(total):
            total = square_sum(row.to(torch.float64).nan_to_num_(0.0, 0.0, 0.0))
        likeness.square_a += total
        likeness.square_b += total


class _Side:
    """One of the two tensors, chunk by chunk.

    Attributes:
        operand: Which tensor it is.
        raw: The chunk that was read last, as it is stored.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._place = (0, 0)
        self.raw = torch.empty(0)
        self.operand: Operand

    def begin(self, operand: Operand) -> None:
        """Go on to another tensor."""
        self._reader.begin()
        self.operand = operand

    def read(self, start: int, count: int) -> None:
        """Read a chunk."""
        self._place = (start, count)
        self.raw = self._reader.read_raw(self.operand, start, count, digest=None)

    @property
    def coarseness(self) -> tuple[int, bool]:
        """Sorts first what a value is rounded to, by precision, then with a scale."""
        bits = self.operand.entry.dtype.mantissa_bits
        return (0 if bits is None else bits), self.operand.scale is None

    def grid(self) -> np.ndarray | None:
        """Return all values of the scale; None without one."""
        operand = self.operand
        if operand.scale is None:
            return None
        return self._reader.grid(operand.ingredient, operand.scale)

    def write_values(self, out: Tensor) -> None:
        """Write what the chunk stands for to `out`, float32 or float64.

        With a scale it is float32(stored) * float32(scale), rounded once, as consumers
        compute it.
        """
        factor = self._reader.factor(self.operand, *self._place)
        if factor is not None:
            value = torch.empty_like(self.raw, dtype=torch.float32)
            widen(self.raw, value)
            out.copy_(value.mul_(factor))
        elif self.raw.is_floating_point():
            widen(self.raw, out)
        else:
            out.copy_(self.raw)

    def rounded(self, value: Tensor) -> Tensor:
        """Return `value`, float32 or float64, as a cast of ours would store it here."""
        factor = self._reader.factor(self.operand, *self._place)
        if factor is not None:
            if value.dtype == torch.float64:
                exact, value = value, torch.empty_like(value, dtype=torch.float32)
                odd_float32(exact, value)
            value = value / factor
        return round_to(value, self.operand.entry.dtype)


def _has_same_form(first: _Side, second: _Side) -> bool:
    """Whether the same bits stand for the same values."""
    if first.operand.entry.dtype is not second.operand.entry.dtype:
        return False
    scales = (first.operand.scale, second.operand.scale)
    grids = (first.grid(), second.grid())
    if scales[0] is None or scales[1] is None or grids[0] is None or grids[1] is None:
        return scales[0] is scales[1]
    rows_and_columns = [(scale.rows, scale.columns) for scale in scales if scale]
    return rows_and_columns[0] == rows_and_columns[1] and np.array_equal(
        grids[0], grids[1]
    )


def _has_same_bits(first: Tensor, second: Tensor) -> bool:
    return torch.equal(bits_of(first), bits_of(second))


def _work_dtype(dtypes: Sequence[Dtype]) -> torch.dtype:
    """Return the dtype in which values are subtracted: float32 where it holds them."""
    is_narrow = all(
        dtype.is_arithmetic and dtype.bits <= _FLOAT32_AT_MOST for dtype in dtypes
    )
    return torch.float32 if is_narrow else torch.float64


def _count(truths: Tensor) -> int:
    # numpy counts truth values several times faster than torch does.
    return int(np.count_nonzero(truths.numpy()))
