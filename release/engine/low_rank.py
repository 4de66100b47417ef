"""The difference of two layers as a product of two thin matrices, as a LoRA holds it.

The best approximation of a matrix by one of rank r is given by its r largest singular
values (Eckart and Young). The vectors of its short side are found in float64; the other
factor is what the matrix becomes when it is seen along them.

Nothing is clamped. kohya's extraction cuts the factors' entries at their 99 % quantile,
which costs accuracy without a gain (kohya-ss/sd-scripts#1610).

The same numbers come out whatever the number of threads: everything runs on one, which
is set for the whole process, as in a merge; layers can be spread over workers. The
random vectors are signs of a fixed stream, and every pair of vectors is turned so that
the largest entry of the left one is positive. The library that multiplies matrices adds
in an order of its own for each kind of processor, so the last bits may differ between
those.

Source:
    Shapes of the factors: kohya-ss/sd-scripts, networks/extract_lora_from_models.py.
"""

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from release.engine.difference import Difference, matrix_nbytes
from release.engine.subspace import column_blocks, leading_vectors, vectors_nbytes
from release.numeric.cast import TORCH_DTYPES, round_to
from release.numeric.dtype import Dtype

_FACTOR_NBYTES: Final = 4
"""Bytes of an element in the widest dtype of factors."""


@dataclass(frozen=True, slots=True)
class LowRank:
    """A difference, approximately `up` times `down`.

    With `alpha` equal to the rank, a LoRA's scale alpha / rank is 1.

    Attributes:
        up: (out, rank).
        down: (rank, everything else).
        relative_error: Frobenius norm of what is missing, divided by that of the
            difference; of the factors as they are, rounded to their dtype. 0 to 1.
    """

    up: Tensor
    down: Tensor
    relative_error: float

    @property
    def alpha(self) -> float:
        """The LoRA's alpha."""
        return float(self.down.shape[0])


def low_rank(difference: Difference, *, rank: int, dtype: Dtype) -> LowRank | None:
    """Return a difference as two factors.

    Args:
        difference: Not modified.
        rank: At least 1. A rank beyond the shorter side of the matrix is cut to it.
        dtype: Of the factors, which are rounded once.

    Returns:
        The factors; None if the difference is zero everywhere.
    """
    torch.set_num_threads(1)
    if difference.norm == 0.0:
        return None
    is_wide = difference.matrix.shape[0] <= difference.matrix.shape[1]
    matrix = difference.matrix if is_wide else difference.matrix.T
    vectors, values = leading_vectors(matrix, min(rank, matrix.shape[0]))
    root = values.sqrt()
    short = round_to(vectors * root, dtype)
    long, error = _other_factor(matrix, short, (vectors / root).T, dtype)
    up, down = (short, long) if is_wide else (long.T, short.T)
    _turn(up, down)
    return LowRank(up.contiguous(), down.contiguous(), error / difference.norm)


def held_nbytes(shape: tuple[int, ...], rank: int) -> int:
    """Return about the most bytes that a layer takes, its difference included."""
    n_elements = math.prod(shape)
    short, long = sorted((shape[0], n_elements // shape[0]))
    matrix = matrix_nbytes(n_elements)
    vectors = vectors_nbytes(short, long, rank, matrix // n_elements)
    return matrix + max(vectors, _FACTOR_NBYTES * long * rank)


def _other_factor(
    matrix: Tensor, factor: Tensor, projection: Tensor, dtype: Dtype
) -> tuple[Tensor, float]:
    """Return the factor of the long side, and the norm of what both together miss.

    Args:
        matrix: (m, n).
        factor: (m, rank), that of the short side, in its dtype.
        projection: (rank, m), float64, which makes the factor from the matrix.
        dtype: Of the factors.
    """
    found = torch.empty(factor.shape[1], matrix.shape[1], dtype=TORCH_DTYPES[dtype])
    wide_factor = round_to(factor, Dtype.F64)
    squares = 0.0
    for columns, block in column_blocks(matrix):
        part = round_to(projection @ block, dtype)
        found[:, columns] = part
        rest = torch.addmm(block, wide_factor, round_to(part, Dtype.F64), alpha=-1.0)
        squares += float(torch.linalg.vector_norm(rest)) ** 2
    return found, math.sqrt(squares)


def _turn(up: Tensor, down: Tensor) -> None:
    """Make the largest entry of every column of `up` positive, the first of equals."""
    largest = up.abs().argmax(dim=0, keepdim=True)
    signs = up.gather(0, largest).sign()
    signs[signs == 0.0] = 1.0
    up.mul_(signs)
    down.mul_(signs.T)
