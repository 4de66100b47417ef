"""The difference of two layers as a product of two thin matrices, as a LoRA holds it.

The best approximation of a matrix by one of rank r is given by its r largest singular
values (Eckart and Young). Small matrices are decomposed whole. Of larger ones, the
subspace of the largest singular values is found by multiplying random vectors with the
matrix and its transpose in turn, orthonormalising in between, and the decomposition is
that of the matrix seen in that subspace.

Nothing is clamped. kohya's extraction cuts the factors' entries at their 99 % quantile,
which costs accuracy without a gain (kohya-ss/sd-scripts#1610).

The same numbers come out whatever the number of threads: everything runs on one, which
is set for the whole process, as in a merge; layers can be spread over workers. The
random vectors are signs of a fixed stream, and every left singular vector is turned so
that its largest entry is positive. The library that multiplies matrices adds in an
order of its own for each kind of processor, so the last bits may differ between those.

Source:
    N. Halko, P. G. Martinsson, J. A. Tropp, "Finding structure with randomness", SIAM
    Review 53(2), 2011, algorithms 4.4 and 5.1. Shapes of the factors: kohya-ss/
    sd-scripts, networks/extract_lora_from_models.py.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from release.engine.methods.seam import NotFiniteError, check_finite
from release.engine.random_bits import random_bits, stream_key
from release.numeric.cast import round_to, widen
from release.numeric.dtype import Dtype

_WHOLE_BELOW: Final = 512
"""A matrix with fewer rows or columns is decomposed whole."""
_EXTRA_VECTORS: Final = 32
"""Random vectors beyond the rank."""
_ITERATIONS: Final = 6
_BLOCK_ELEMENTS: Final = 2**20
"""Elements whose error is measured at once."""
_SEED: Final = 0
_DIMENSIONS: Final = (2, 4)


@dataclass(frozen=True, slots=True)
class LowRank:
    """One layer's difference, approximately `up` times `down`.

    With `alpha` equal to the rank, a LoRA's scale alpha / rank is 1.

    Attributes:
        up: (out, rank), or (out, rank, 1, 1) for a convolution.
        down: (rank, in), or (rank, in, height, width).
        rank: Of the factors: what was asked for, or the most that the shape allows.
        wished_rank: What was asked for.
        relative_error: Frobenius norm of what is missing, divided by that of the
            difference; of the factors as they are, rounded to their dtype. 0 to 1.
    """

    up: Tensor
    down: Tensor
    rank: int
    wished_rank: int
    relative_error: float

    @property
    def alpha(self) -> float:
        """What a LoRA file declares beside the factors."""
        return float(self.rank)

    @property
    def is_cut(self) -> bool:
        """Whether the layer is too small for the rank that was asked for."""
        return self.rank < self.wished_rank

    @property
    def snr_db(self) -> float:
        """Signal to noise: 20 decibels for a tenth of error; infinite without any."""
        if self.relative_error == 0.0:
            return math.inf
        return -20.0 * math.log10(self.relative_error)


def has_factors(shape: tuple[int, ...]) -> bool:
    """Return whether a tensor is a layer's matrix or convolution, and not empty."""
    return len(shape) in _DIMENSIONS and all(shape)


def low_rank(
    before: Tensor, after: Tensor, *, rank: int, dtype: Dtype = Dtype.F32
) -> LowRank | None:
    """Return `after` - `before` as two factors.

    Takes about twice the matrix in float64, beyond the arguments.

    Args:
        before: (out, in) or (out, in, height, width); see `has_factors`. Any dtype that
            holds numbers. Not modified.
        after: The same shape.
        rank: At least 1. A rank beyond the shorter side of the matrix is cut to it.
        dtype: Of the factors, which are rounded once.

    Returns:
        The factors; None if the difference is zero everywhere.

    Raises:
        NotFiniteError: Argument 0 for `before`, 1 for `after`; or with element None,
            their difference or its square is beyond float64.
    """
    torch.set_num_threads(1)
    difference = _difference(before, after)
    norm = float(torch.linalg.vector_norm(difference))
    if not math.isfinite(norm):
        raise NotFiniteError(1, None)
    if norm == 0.0:
        return None
    kept = min(rank, *difference.shape)
    left, values, right = _decompose(difference, kept)
    _turn(left, right)
    root = values.sqrt()
    up = round_to(left * root, dtype)
    down = round_to(root[:, None] * right, dtype)
    trailing = before.shape[2:]
    return LowRank(
        up=up.view(*up.shape, *(1 for _ in trailing)),
        down=down.view(kept, *before.shape[1:]),
        rank=kept,
        wished_rank=rank,
        relative_error=_error(difference, up, down) / norm,
    )


def _difference(before: Tensor, after: Tensor) -> Tensor:
    """Return `after` - `before` in float64, as a matrix with a row for each output."""
    first, second = before.contiguous().view(-1), after.contiguous().view(-1)
    difference = torch.empty(second.numel(), dtype=torch.float64)
    buffer = torch.empty(_BLOCK_ELEMENTS, dtype=torch.float64)
    for start in range(0, second.numel(), _BLOCK_ELEMENTS):
        part = difference[start : start + _BLOCK_ELEMENTS]
        subtrahend = buffer[: part.numel()]
        widen(first[start : start + part.numel()], subtrahend)
        widen(second[start : start + part.numel()], part)
        check_finite(start, (subtrahend, part))
        part.sub_(subtrahend)
    return difference.view(before.shape[0], -1)


def _decompose(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return left vectors (m, rank), singular values and right vectors (rank, n)."""
    if min(matrix.shape) < max(_WHOLE_BELOW, 2 * (rank + _EXTRA_VECTORS)):
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    else:
        basis = _range(matrix, rank + _EXTRA_VECTORS)
        inner, values, right = torch.linalg.svd(basis.T @ matrix, full_matrices=False)
        left = basis @ inner
    return left[:, :rank].clone(), values[:rank], right[:rank].clone()


def _range(matrix: Tensor, n_vectors: int) -> Tensor:
    """Return an orthonormal basis that nearly holds the largest singular vectors."""
    basis = _orthonormal(matrix @ _signs(matrix.shape[1], n_vectors))
    for _ in range(_ITERATIONS):
        other_side = _orthonormal(matrix.T @ basis)
        basis = _orthonormal(matrix @ other_side)
    return basis


def _orthonormal(vectors: Tensor) -> Tensor:
    basis: Tensor = torch.linalg.qr(vectors).Q
    return basis


def _signs(rows: int, columns: int) -> Tensor:
    """Return a matrix of 1 and -1 that is always the same."""
    words = np.empty(rows * columns, dtype=np.uint64)
    random_bits(stream_key(_SEED, "low rank"), 0, words, np.empty_like(words))
    upper = torch.from_numpy(words >> np.uint64(63) == 0)
    return upper.to(torch.float64).mul_(2.0).sub_(1.0).view(rows, columns)


def _turn(left: Tensor, right: Tensor) -> None:
    """Make the largest entry of every left vector positive, the first of equals."""
    largest = np.abs(left.numpy()).argmax(axis=0)
    is_negative = left[torch.from_numpy(largest), torch.arange(left.shape[1])] < 0.0
    left[:, is_negative] *= -1.0
    right[is_negative] *= -1.0


def _error(matrix: Tensor, up: Tensor, down: Tensor) -> float:
    """Return the Frobenius norm of what the factors miss, by blocks of rows."""
    wide_up, wide_down = round_to(up, Dtype.F64), round_to(down, Dtype.F64)
    height = max(1, _BLOCK_ELEMENTS // matrix.shape[1])
    squares = 0.0
    for row in range(0, matrix.shape[0], height):
        rest = matrix[row : row + height] - wide_up[row : row + height] @ wide_down
        squares += float(torch.linalg.vector_norm(rest)) ** 2
    return math.sqrt(squares)
