"""Where tensors lie: every byte of the data belongs to exactly one of them.

That rule is what keeps a file from being a checkpoint and something else at once.

Source:
    huggingface/safetensors, README "Format".
"""

from collections.abc import Iterable
from pathlib import Path

from release.errors import DtypeError, LayoutError, ShapeError, visible
from release.formats.hints import DAMAGED, FAULTY_WRITER
from release.formats.limits import DIM_MAX, UINT64_MAX
from release.formats.tensor import TensorEntry


def check_layout(
    path: Path, entries: Iterable[TensorEntry], data_nbytes: int
) -> tuple[TensorEntry, ...]:
    """Return `entries` in data order, each of them checked against the data section.

    Args:
        path: The file, for messages.
        entries: In any order.
        data_nbytes: Bytes from the end of the header to the end of the file.

    Raises:
        LayoutError: `offsets`, `overlap`, `hole`, `size-mismatch`, `truncated` or
            `trailing-bytes`.
        ShapeError: `overflow`.
        DtypeError: `sub-byte`.
    """
    ordered = sorted(entries, key=lambda entry: (entry.begin, entry.end))
    position = 0
    for entry in ordered:
        _check_offsets(path, entry)
        expected = _expected_nbytes(path, entry)
        _check_place(path, entry, position=position, data_nbytes=data_nbytes)
        _check_extent(path, entry, expected=expected, data_nbytes=data_nbytes)
        position = entry.end
    if position < data_nbytes:
        raise LayoutError(
            path,
            f"{data_nbytes - position:,} bytes follow the last tensor, "
            f"expected the file to end there",
            code="trailing-bytes",
            hint="something was appended to the file; " + DAMAGED,
        )
    return tuple(ordered)


def _check_offsets(path: Path, entry: TensorEntry) -> None:
    if entry.begin > entry.end:
        reason = f"begins at {entry.begin:,} and ends at {entry.end:,}"
        raise _layout(path, entry, "offsets", reason)
    if entry.end > DIM_MAX:
        reason = f"ends at byte {entry.end:,}, expected at most 2^63 - 1"
        raise _layout(path, entry, "offsets", reason)


def _expected_nbytes(path: Path, entry: TensorEntry) -> int:
    """Return the bytes that dtype and shape ask for.

    Dimensions of zero do not excuse the others: frameworks multiply those for their
    strides and fail.
    """
    extent = 1
    for dim in entry.shape:
        extent *= max(dim, 1)
        if extent > DIM_MAX or extent * entry.dtype.bits > UINT64_MAX:
            raise ShapeError(
                path,
                f"tensor {visible(entry.name)}: shape {_shape(entry.shape)} of "
                f"{entry.dtype.code} exceeds 64 bits",
                code="overflow",
                hint=FAULTY_WRITER,
            )
    n_bits = entry.n_elements * entry.dtype.bits
    if n_bits % 8:
        raise DtypeError(
            path,
            f"tensor {visible(entry.name)}: {n_bits:,} bits of {entry.dtype.code}, "
            f"expected a multiple of 8",
            code="sub-byte",
            hint=FAULTY_WRITER,
        )
    return n_bits // 8


def _check_place(
    path: Path, entry: TensorEntry, *, position: int, data_nbytes: int
) -> None:
    if entry.begin == entry.end and entry.end > data_nbytes:
        reason = f"lies at byte {entry.begin:,} of {data_nbytes:,}, beyond the data"
        raise _layout(path, entry, "offsets", reason)
    reason = f"begins at byte {entry.begin:,}, expected {position:,}"
    if entry.begin < position:
        raise _layout(path, entry, "overlap", reason)
    if entry.begin > position:
        raise _layout(path, entry, "hole", reason)


def _check_extent(
    path: Path, entry: TensorEntry, *, expected: int, data_nbytes: int
) -> None:
    if entry.nbytes != expected:
        reason = (
            f"holds {entry.nbytes:,} bytes, expected {expected:,} for "
            f"{entry.dtype.code} of shape {_shape(entry.shape)}"
        )
        raise _layout(path, entry, "size-mismatch", reason)
    if entry.end > data_nbytes:
        reason = f"ends at byte {entry.end:,} of the data, the file at {data_nbytes:,}"
        raise LayoutError(
            path,
            f"tensor {visible(entry.name)}: {reason}",
            code="truncated",
            hint=DAMAGED,
        )


def _layout(path: Path, entry: TensorEntry, code: str, reason: str) -> LayoutError:
    return LayoutError(
        path,
        f"tensor {visible(entry.name)}: {reason}",
        code=code,
        hint=FAULTY_WRITER,
    )


def _shape(shape: tuple[int, ...]) -> str:
    return visible(list(shape), 80)
