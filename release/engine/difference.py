"""The difference of two layers as a matrix with a row for each output."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from release.engine.methods.seam import NotFiniteError, check_finite
from release.numeric.cast import round_to
from release.numeric.dtype import Dtype

_FLOAT64_ELEMENTS: Final = 2**21
"""The largest matrix that is held in float64."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What a layer has become, minus what it was.

    Attributes:
        matrix: (out, everything else). Float64 where it is small. A larger one is in
            float32, each element rounded once: that is as much as factors in float32
            lose themselves, and half the memory.
        norm: Its Frobenius norm; finite.
    """

    matrix: Tensor
    norm: float


def subtract(
    shape: tuple[int, ...], chunks: Iterable[tuple[Tensor, Tensor]]
) -> Difference:
    """Return a layer minus another, of which no more than a chunk is held at a time.

    Args:
        shape: Of the layer, from two dimensions; not empty.
        chunks: Consecutive elements of the subtrahend and of the minuend. Flat, of any
            dtype that holds numbers. Not modified.

    Raises:
        NotFiniteError: Argument 0 for the subtrahend, 1 for the minuend; or with
            element None, their difference or its square is too large.
    """
    n_elements = math.prod(shape)
    matrix = torch.empty(n_elements, dtype=_dtype(n_elements))
    start, square = 0, 0.0
    for chunk in chunks:
        before, after = (round_to(each, Dtype.F64) for each in chunk)
        check_finite(start, (before, after))
        part = matrix[start : start + after.numel()].copy_(after.sub_(before))
        square += float(torch.dot(after.copy_(part), after))
        start += after.numel()
    if not math.isfinite(square):
        raise NotFiniteError(1, None)
    return Difference(matrix.view(shape[0], -1), math.sqrt(square))


def matrix_nbytes(n_elements: int) -> int:
    """Return the bytes that a difference takes in memory."""
    return n_elements * _dtype(n_elements).itemsize


def _dtype(n_elements: int) -> torch.dtype:
    return torch.float64 if n_elements <= _FLOAT64_ELEMENTS else torch.float32
