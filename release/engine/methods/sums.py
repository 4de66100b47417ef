"""Sums whose bits depend on neither threads nor processor.

A library's sum is added in an order that follows the width of the processor's registers
and the number of threads. Here a chunk is folded in half, and again, by elementwise
additions, which IEEE 754 defines to the bit; chunks are added in the order of the file.
"""

import torch
from torch import Tensor


def fold(rows: Tensor) -> Tensor:
    """Return the sum over dim 0 of a matrix that has at least one row.

    Args:
        rows: Two dimensions, float64; overwritten.

    Returns:
        One row, a part of `rows`.
    """
    count = rows.shape[0]
    while count > 1:
        half = (count + 1) // 2
        rows[: count - half].add_(rows[half:count])
        count = half
    return rows[0]


def total(values: Tensor) -> float:
    """Return the sum of a flat tensor of float64, which is overwritten."""
    return float(fold(values.view(-1, 1))[0]) if values.numel() else 0.0


def column_pieces(start: int, values: Tensor, columns: int) -> list[tuple[int, Tensor]]:
    """Cut a flat chunk of a matrix into at most three pieces of whole or part rows.

    Args:
        start: The matrix element at which the chunk begins, rows one after the other.
        values: The chunk, flat.
        columns: Length of a row.

    Returns:
        For each piece, its first column and a view of it with the shape (rows, width):
        the end of a row, whole rows, the beginning of a row.
    """
    first = start % columns
    head = min((columns - first) % columns, values.numel())
    n_whole = (values.numel() - head) // columns
    tail = head + n_whole * columns
    pieces = []
    if head:
        pieces.append((first, values[:head].view(1, head)))
    if n_whole:
        pieces.append((0, values[head:tail].view(n_whole, columns)))
    if tail < values.numel():
        pieces.append((0, values[tail:].view(1, -1)))
    return pieces


class ColumnSums:
    """The sum of every column of a matrix that comes in flat chunks.

    Args:
        columns: Length of a row; 8 bytes of memory each.
    """

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self.totals = torch.zeros(columns, dtype=torch.float64)

    def add(self, start: int, values: Tensor) -> None:
        """Add a chunk, flat and float64, which is overwritten."""
        for column, piece in column_pieces(start, values, self._columns):
            row = fold(piece)
            self.totals[column : column + row.numel()].add_(row)
