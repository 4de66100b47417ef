"""Numbers of a LoRA's tensors, as float64 and checked."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from release.errors import ValueRangeError, visible
from release.formats.checkpoint import Checkpoint
from release.formats.hints import DAMAGED
from release.formats.tensor import TensorEntry
from release.numeric.dtype import Dtype

Float64Array = NDArray[np.float64]

FACTOR_DTYPES: Final = {Dtype.F32: "<f4", Dtype.F16: "<f2", Dtype.BF16: "<u2"}
"""Dtypes of factors, and how numpy sees their bytes."""

ALPHA_DTYPES: Final = {
    **FACTOR_DTYPES,
    Dtype.F64: "<f8",
    Dtype.I32: "<i4",
    Dtype.I64: "<i8",
}
"""Dtypes of the number alpha, which trainers write as they had it."""


def read_values(
    checkpoint: Checkpoint, entry: TensorEntry, *, start: int = 0, count: int = -1
) -> Float64Array:
    """Return elements of a tensor in float64, which holds each of them exactly.

    Args:
        checkpoint: Where the tensor is.
        entry: Its dtype is one of `ALPHA_DTYPES`.
        start: First element, counted row-major.
        count: Number of elements; all from `start` on if negative.

    Returns:
        Flat.

    Raises:
        ValueRangeError: `not-finite` for NaN or infinity.
        InputError: The file changed or cannot be read.
    """
    width = entry.dtype.bits // 8
    size = entry.n_elements - start if count < 0 else count
    raw = np.empty(size * width, dtype=np.uint8)
    checkpoint.read_into(entry, start * width, raw.data)
    stored = raw.view(ALPHA_DTYPES[entry.dtype])
    if entry.dtype is Dtype.BF16:
        stored = (stored.astype(np.uint32) << 16).view(np.float32)
    values = stored.astype(np.float64)
    if not np.isfinite(values).all():
        place = int(np.argmin(np.isfinite(values)))
        raise ValueRangeError(
            checkpoint.path,
            f"{visible(entry.name)} is {values[place]} at element {start + place:,}, "
            f"expected finite numbers",
            code="not-finite",
            hint=DAMAGED,
        )
    return values
