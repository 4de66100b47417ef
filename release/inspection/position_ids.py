"""Whether `position_ids` still hold 0, 1, 2 ... after what merges and casts did."""

import math
import struct
from collections.abc import Sequence
from typing import Final

from release.formats.checkpoint import Checkpoint
from release.formats.tensor import TensorEntry
from release.inspection.report import PositionIds
from release.numeric.dtype import Dtype

_ELEMENTS_MAX: Final = 4096
"""Elements that are read; text encoders of image models have 77 positions."""

_STRUCT_CODES: Final = {
    Dtype.I64: "q",
    Dtype.U64: "Q",
    Dtype.I32: "i",
    Dtype.U32: "I",
    Dtype.I16: "h",
    Dtype.U16: "H",
    Dtype.I8: "b",
    Dtype.U8: "B",
    Dtype.F64: "d",
    Dtype.F32: "f",
    Dtype.F16: "e",
}


def position_ids_of(checkpoint: Checkpoint) -> tuple[PositionIds, ...]:
    """Return the state of every `position_ids` tensor.

    Raises:
        InputError: The file changed or cannot be read.
    """
    return tuple(
        _state(checkpoint, entry)
        for name, entry in checkpoint.tensors.items()
        if name.rpartition(".")[2] == "position_ids"
    )


def position_values(
    checkpoint: Checkpoint, entry: TensorEntry
) -> Sequence[float] | None:
    """Return what a `position_ids` holds, in whatever dtype.

    Returns:
        None for dtypes of no number, and for more than 4,096 values.

    Raises:
        InputError: The file changed or cannot be read.
    """
    if entry.n_elements > _ELEMENTS_MAX:
        return None
    data = bytearray(entry.nbytes)
    checkpoint.read_into(entry, 0, memoryview(data))
    return _decode(bytes(data), entry.dtype)


def _state(checkpoint: Checkpoint, entry: TensorEntry) -> PositionIds:
    count = entry.n_elements
    if count == 0 or count > _ELEMENTS_MAX:
        detail = f"holds {count:,} values, expected 77"
        return PositionIds(entry.name, entry.dtype.code, is_right=False, detail=detail)
    values = position_values(checkpoint, entry)
    if values is None:
        detail = "cannot hold positions"
        return PositionIds(entry.name, entry.dtype.code, is_right=False, detail=detail)
    wrong = [at for at, value in enumerate(values) if value != at]
    detail = f"0 to {count - 1}"
    if wrong:
        detail = (
            f"{len(wrong)} of {count} wrong, the first is {values[wrong[0]]:.6g} "
            f"instead of {wrong[0]}"
        )
    return PositionIds(entry.name, entry.dtype.code, not wrong, detail)


def _decode(data: bytes, dtype: Dtype) -> Sequence[float] | None:
    """Return the values of little-endian `data`, None for dtypes of no number."""
    if dtype in _STRUCT_CODES:
        code = _STRUCT_CODES[dtype]
        return [value for (value,) in struct.iter_unpack(f"<{code}", data)]
    if dtype is Dtype.BF16:
        # The upper half of a float32.
        padded = b"".join(b"\0\0" + data[at : at + 2] for at in range(0, len(data), 2))
        return _decode(padded, Dtype.F32)
    if dtype is Dtype.F8_E5M2:
        # The upper half of a float16.
        return _decode(b"".join(b"\0" + bytes([byte]) for byte in data), Dtype.F16)
    if dtype is Dtype.F8_E4M3:
        return [_e4m3(byte) for byte in data]
    return None


def _e4m3(code: int) -> float:
    """Return the value of an fp8 e4m3fn code."""
    sign = -1.0 if code & 0x80 else 1.0
    exponent, mantissa = (code >> 3) & 0xF, code & 0x7
    if code & 0x7F == 0x7F:
        return math.nan
    if exponent == 0:
        return float(sign * mantissa * 2.0**-9)
    return float(sign * (8 + mantissa) * 2.0 ** (exponent - 10))
