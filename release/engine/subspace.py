"""The largest singular values of a matrix, and their vectors on its short side.

They are the roots of the eigenvalues of the matrix times its transpose, which is as
small as the short side. Where that costs more than finding the subspace of the largest
values first, the latter is done: random vectors are multiplied with the matrix and its
transpose in turn and orthonormalised in between, and the eigenvalues are those of the
matrix seen in that subspace.

What decides the result is computed in float64, from blocks of columns. The subspace is
sought in the dtype of the matrix: the last product, which is in float64, corrects it
once more.

Squaring costs half the digits: a singular value below 1e-8 of the largest is noise. So
is what a factor in float32 says of it.

Source:
    N. Halko, P. G. Martinsson, J. A. Tropp, "Finding structure with randomness", SIAM
    Review 53(2), 2011, algorithms 4.4 and 5.1.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from torch import Tensor

from release.engine.random_bits import random_bits, stream_key

_WHOLE_BELOW: Final = 512
"""A matrix with fewer rows is squared whole; that takes milliseconds."""
_EXTRA_VECTORS: Final = 32
"""Random vectors beyond the rank."""
_ITERATIONS: Final = 6
_BLOCK_ELEMENTS: Final = 2**18
_WORDS: Final = 2**16
"""Signs that are drawn at once."""
_SEED: Final = 0
_FLOOR: Final = 2.0**-26
"""Of singular values, relative to the largest: below it, roots of eigenvalues lie."""


def column_blocks(matrix: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield all columns in float64, some at a time, and which these are."""
    width = max(1, _BLOCK_ELEMENTS // matrix.shape[0])
    for start in range(0, matrix.shape[1], width):
        columns = slice(start, min(start + width, matrix.shape[1]))
        yield columns, matrix[:, columns].to(torch.float64)


def leading_vectors(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return the left singular vectors of the largest singular values, and those.

    Args:
        matrix: (m, n), m at most n, not zero, float32 or float64. Not modified.
        rank: 1 to m.

    Returns:
        (m, rank), orthonormal, and (rank,), descending and positive; float64.
    """
    n_vectors = rank + _EXTRA_VECTORS
    if _is_squared_whole(matrix.shape[0], matrix.shape[1], n_vectors):
        squares, vectors = torch.linalg.eigh(_gram(matrix, None))
    else:
        basis = _range(matrix, n_vectors)
        squares, vectors = torch.linalg.eigh(_gram(matrix, basis.T))
        vectors = basis @ vectors[:, -rank:]
    values = squares[-rank:].flip(0).clamp(min=0.0).sqrt()
    return vectors[:, -rank:].flip(1), values.clamp(min=_FLOOR * float(values[0]))


def vectors_nbytes(rows: int, columns: int, rank: int, element_nbytes: int) -> int:
    """Return about the most bytes that `leading_vectors` takes beyond the matrix."""
    n_vectors = rank + _EXTRA_VECTORS
    blocks = 4 * 8 * _BLOCK_ELEMENTS
    if _is_squared_whole(rows, columns, n_vectors):
        return blocks + 5 * 8 * rows * rows
    return blocks + 5 * element_nbytes * columns * n_vectors


def _is_squared_whole(rows: int, columns: int, n_vectors: int) -> bool:
    """Return whether squaring the matrix takes less time than finding its range.

    Both sides count the operations of either way: a product and its eigenvalues, which
    take about as long as 4 products of squares; and 13 products with few vectors.
    """
    squaring = rows * (columns + 4 * rows)
    return rows < _WHOLE_BELOW or squaring < 13 * columns * n_vectors


def _gram(matrix: Tensor, projection: Tensor | None) -> Tensor:
    """Return the matrix, or its projection, times the transpose of the same."""
    n_rows = matrix.shape[0] if projection is None else projection.shape[0]
    gram = torch.zeros(n_rows, n_rows, dtype=torch.float64)
    for _, block in column_blocks(matrix):
        seen = block if projection is None else projection @ block
        gram.addmm_(seen, seen.T)
    return gram


def _range(matrix: Tensor, n_vectors: int) -> Tensor:
    """Return an orthonormal basis that nearly holds the largest singular vectors."""
    other_side = _signs(matrix.shape[1], n_vectors, matrix.dtype)
    for _ in range(_ITERATIONS):
        basis = _orthonormal(matrix @ other_side)
        del other_side
        other_side = _orthonormal(matrix.T @ basis)
    product = torch.zeros(matrix.shape[0], n_vectors, dtype=torch.float64)
    for columns, block in column_blocks(matrix):
        product.addmm_(block, other_side[columns].to(torch.float64))
    return _orthonormal(product)


def _orthonormal(vectors: Tensor) -> Tensor:
    basis: Tensor = torch.linalg.qr(vectors).Q
    return basis


def _signs(rows: int, columns: int, dtype: torch.dtype) -> Tensor:
    """Return a matrix of 1 and -1 that is always the same."""
    key = stream_key(_SEED, "low rank")
    signs = torch.empty(rows * columns, dtype=dtype)
    words, scratch = np.empty((2, _WORDS), dtype=np.uint64)
    for start in range(0, signs.numel(), _WORDS):
        part = signs[start : start + _WORDS]
        random_bits(key, start, words[: part.numel()], scratch[: part.numel()])
        is_positive = words[: part.numel()] >> np.uint64(63) == 0
        part.copy_(torch.from_numpy(is_positive)).mul_(2.0).sub_(1.0)
    return signs.view(rows, columns)
