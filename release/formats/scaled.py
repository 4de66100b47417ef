"""The multipliers of a scaled weight: read, checked, spread over a range of elements.

Source:
    neuralmagic/compressed-tensors, deepseek-ai/DeepSeek-V3 `weight_dequant` and
    Comfy-Org/ComfyUI QUANTIZATION.md: a weight is its fp8 value times its scale.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from release.errors import ValueRangeError, visible
from release.formats.checkpoint import Checkpoint
from release.formats.layouts.kinds import Scale, grid_shape, matrix_shape
from release.numeric.dtype import Dtype

Float32Array = NDArray[np.float32]

_STORED: Final = {Dtype.F32: "<f4", Dtype.F16: "<f2", Dtype.BF16: "<u2"}


def read_grid(checkpoint: Checkpoint, scale: Scale) -> Float32Array:
    """Return all values of a scale tensor, flat, in float32 and exact.

    Args:
        checkpoint: The checkpoint, open.
        scale: One of its layout's; the tensor is F32, F16 or BF16.

    Raises:
        ValueRangeError: `bad-scale` for NaN, infinity, a negative value, or zero as
            the only value. Zero among others is legal: the scale of a block of tiny
            weights may underflow in F16.
        InputError: The file changed or cannot be read.
    """
    entry = checkpoint.tensors[scale.name]
    buffer = bytearray(entry.nbytes)
    checkpoint.read_into(entry, 0, memoryview(buffer))
    stored = np.frombuffer(buffer, _STORED[entry.dtype])
    if entry.dtype is Dtype.BF16:
        grid = (stored.astype(np.uint32) << 16).view(np.float32)
    else:
        grid = stored.astype(np.float32)
    good = np.isfinite(grid) & (grid > 0 if grid.size == 1 else grid >= 0)
    if not good.all():
        place = int(np.argmin(good))
        raise ValueRangeError(
            checkpoint.path,
            f"scale {visible(scale.name)} is {grid[place]} at element {place:,}, "
            f"expected a positive finite number",
            code="bad-scale",
            hint="the file is damaged or its scales were lost; get it from its author",
        )
    return grid


def multipliers(
    grid: Float32Array, scale: Scale, *, shape: tuple[int, ...], start: int, count: int
) -> Float32Array | float:
    """Return what each element of a range of a weight is to be multiplied by.

    Memory is bounded by `count` elements and two rows of the grid.

    Args:
        grid: The scale's values, flat, of `grid_shape(shape, scale)`.
        scale: How they spread.
        shape: Of the weight.
        start: First element, counted row-major.
        count: Number of elements, at least 1.

    Returns:
        One float if one value covers the range, else float32 of length `count`.

    Raises:
        ValueError: The grid has another size, or the range leaves the weight.
    """
    n_rows, n_columns = grid_shape(shape, scale)
    if grid.size != n_rows * n_columns:
        message = f"grid of {grid.size:,} values, expected {n_rows} x {n_columns}"
        raise ValueError(message)
    if not 0 <= start < start + count <= math.prod(shape):
        message = f"elements {start:,} to {start + count:,} of {math.prod(shape):,}"
        raise ValueError(message)
    if grid.size == 1:
        return float(grid[0])
    rest = matrix_shape(shape)[1]
    if n_columns == 1:
        return _runs(grid, start, count, scale.rows * rest)
    first, last = start // rest, (start + count - 1) // rest
    if first == last:
        line = first // scale.rows * n_columns
        row = grid[line : line + n_columns]
        return _runs(row, start - first * rest, count, scale.columns)
    return _blocks(grid.reshape(n_rows, n_columns), scale, rest, start, count)


def _runs(
    values: Float32Array, start: int, count: int, length: int
) -> Float32Array | float:
    """Return elements of `values`, each repeated `length` times, in a range."""
    first, last = start // length, (start + count - 1) // length
    if first == last:
        return float(values[first])
    lengths = np.full(last - first + 1, length)
    lengths[0] -= start - first * length
    lengths[-1] = start + count - last * length
    return np.repeat(values[first : last + 1], lengths)


def _blocks(
    grid: Float32Array, scale: Scale, rest: int, start: int, count: int
) -> Float32Array:
    """Return the multipliers of a range over several rows, in runs within each row."""
    n_columns = grid.shape[1]
    first, last = start // rest, (start + count - 1) // rest
    values = grid[np.arange(first, last + 1) // scale.rows].ravel()
    lengths = np.full((last - first + 1, n_columns), scale.columns)
    lengths[:, -1] = rest - (n_columns - 1) * scale.columns
    skipped = (start - first * rest) // scale.columns
    end_column = start + count - 1 - last * rest
    kept = values.size - n_columns + end_column // scale.columns + 1
    runs = lengths.ravel()[skipped:kept]
    runs[0] -= start - first * rest - skipped * scale.columns
    runs[-1] = end_column % scale.columns + 1
    return np.repeat(values[skipped:kept], runs)
