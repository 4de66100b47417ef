"""What a tensor takes of its record: bounds, strides, size.

The child checks with these functions what the pickle says; the parent checks with the
same ones what the child says.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from release.errors import visible
from release.formats.limits import DIM_MAX, RANK_MAX
from release.formats.refused import RefusedError
from release.numeric.dtype import Dtype

_GATHERED_RANK_MAX: Final = 32
"""Dimensions that remain after joining; what NumPy can index."""
_GATHERED_NBYTES_MAX: Final = 256 * 2**20
"""Bytes that a tensor may spread over if they have to be in memory together."""
_AMPLIFICATION_MAX: Final = 4
_AMPLIFICATION_FLOOR: Final = 64 * 2**10


@dataclass(frozen=True, slots=True)
class View:
    """A tensor as a view of one record.

    Attributes:
        name: Tensor name.
        dtype: Dtype of the elements.
        shape: Dimensions.
        record: Number of the record in its plan.
        offset: First element, counted from the start of the record.
        dims: (size, stride in elements) of the dimensions, outermost first, without
            those of size one and with neighbours joined where one stride serves both.
    """

    name: str
    dtype: Dtype
    shape: tuple[int, ...]
    record: int
    offset: int
    dims: tuple[tuple[int, int], ...]

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.dtype.bits // 8

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor, written in full."""
        return math.prod(self.shape) * self.itemsize

    @property
    def is_contiguous(self) -> bool:
        """Whether the tensor is one range of the record, in order."""
        match self.dims:
            case () | ((_, 1),):
                return True
            case _:
                return self.nbytes == 0

    @property
    def span(self) -> tuple[int, int]:
        """First byte of the record that belongs to the tensor, and the one after."""
        begin = self.offset * self.itemsize
        if self.nbytes == 0:
            return begin, begin
        last = self.offset + sum((size - 1) * stride for size, stride in self.dims)
        return begin, (last + 1) * self.itemsize


def join_dims(
    shape: Sequence[int], strides: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Return the fewest (size, stride) pairs that visit the same elements in order."""
    dims: list[tuple[int, int]] = []
    for size, stride in zip(shape, strides, strict=True):
        if size == 1:
            continue
        if dims and dims[-1][1] == size * stride:
            dims[-1] = (dims[-1][0] * size, stride)
        else:
            dims.append((size, stride))
    return tuple(dims)


def check_shape(name: str, shape: Sequence[int], strides: Sequence[int]) -> None:
    """Refuse impossible dimensions.

    Raises:
        RefusedError: `rank`, `shape`, `stride` or `overflow`.
    """
    if len(shape) > RANK_MAX:
        raise _refusal(
            "rank", name, f"{len(shape):,} dimensions, expected at most {RANK_MAX:,}"
        )
    shown = visible(list(shape), 80)
    if any(size < 0 for size in shape):
        raise _refusal("shape", name, f"shape {shown}, expected no negative size")
    if any(stride < 0 for stride in strides):
        raise _refusal("stride", name, "a negative stride, expected 0 or more")
    # A dimension of zero does not excuse the others.
    n_elements = math.prod(max(size, 1) for size in shape)
    if max(n_elements, *strides, 0) > DIM_MAX:
        raise _refusal("overflow", name, f"shape {shown} exceeds 64 bits")


def check_view(view: View, record_nbytes: int) -> None:
    """Refuse a view that leaves its record, or needs too much memory to gather.

    Args:
        view: Its shape has passed `check_shape`.
        record_nbytes: Bytes of the record.

    Raises:
        RefusedError: `out-of-bounds`, `rank` or `resource-limit`.
    """
    begin, end = view.span
    if begin < 0 or end > record_nbytes:
        raise _refusal(
            "out-of-bounds",
            view.name,
            f"bytes {visible(begin, 40)} to {visible(end, 40)} of a storage of "
            f"{record_nbytes:,} bytes",
        )
    if view.is_contiguous:
        return
    if len(view.dims) > _GATHERED_RANK_MAX:
        raise _refusal(
            "rank", view.name, f"{len(view.dims)} dimensions that are not contiguous"
        )
    if end - begin > _GATHERED_NBYTES_MAX:
        raise _refusal(
            "resource-limit",
            view.name,
            f"is not contiguous and spread over {end - begin:,} bytes, expected at "
            f"most {_GATHERED_NBYTES_MAX:,}, which have to be in memory together",
            "structure",
        )


def check_amplification(views: Iterable[View], file_nbytes: int) -> None:
    """Refuse tensors that are together far larger than the file they come from.

    Raises:
        RefusedError: `amplification`.
    """
    limit = max(_AMPLIFICATION_MAX * file_nbytes, _AMPLIFICATION_FLOOR)
    total = 0
    for view in views:
        total += view.nbytes
        if total > limit:
            raise _refusal(
                "amplification",
                view.name,
                f"brings the tensors to {total:,} bytes in a file of "
                f"{file_nbytes:,}, expected at most {limit:,}",
            )


def _refusal(code: str, name: str, reason: str, advice: str = "") -> RefusedError:
    return RefusedError(code, f"tensor {visible(name)}: {reason}", advice)
