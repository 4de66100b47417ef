"""Sums against exact ones, in the same bits on any number of threads."""

import math

import numpy as np
import pytest
import torch

from release.engine.methods.sums import ColumnSums, column_pieces, fold, total


@pytest.mark.parametrize("count", [0, 1, 2, 3, 1000, 262_144])
def test_total_is_the_sum(count):
    values = np.random.default_rng(count).normal(size=count)

    found = total(torch.tensor(values))

    assert found == pytest.approx(math.fsum(values), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([2.0**53, 1, -(2.0**53), 1], 2.0), ([2.0**53, -(2.0**53), 1, 1], 1.0)],
)
def test_halves_are_added_to_one_another(values, expected):
    assert total(torch.tensor(values, dtype=torch.float64)) == expected


def test_threads_change_no_bit():
    values = torch.tensor(np.random.default_rng(0).normal(size=262_143))
    before = torch.get_num_threads()
    found = set()
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        found.add(total(values.clone()))
        found.add(float(fold(values.clone().view(-1, 3))[2]))
    torch.set_num_threads(before)

    assert len(found) == 2


@pytest.mark.parametrize("columns", [1, 3, 10, 99, 100, 101, 5000])
@pytest.mark.parametrize("chunk", [1, 7, 100, 1000])
def test_columns_are_summed_whatever_the_cut(columns, chunk):
    matrix = np.random.default_rng(0).integers(-9, 9, size=(13, columns)).astype(float)
    sums = ColumnSums(columns)

    for start in range(0, min(matrix.size, 20 * chunk), chunk):
        sums.add(start, torch.tensor(matrix.reshape(-1)[start : start + chunk]))

    seen = matrix.reshape(-1).copy()
    seen[20 * chunk :] = 0.0
    expected = seen.reshape(matrix.shape).sum(axis=0)
    assert np.array_equal(sums.totals.numpy(), expected)


def test_pieces_are_the_end_of_a_row_whole_rows_and_a_beginning():
    pieces = column_pieces(8, torch.arange(8, 27), 5)

    assert [(column, piece.tolist()) for column, piece in pieces] == [
        (3, [[8, 9]]),
        (0, [[10, 11, 12, 13, 14], [15, 16, 17, 18, 19], [20, 21, 22, 23, 24]]),
        (0, [[25, 26]]),
    ]


def test_piece_inside_one_row_is_one():
    pieces = column_pieces(11, torch.arange(11, 14), 5)

    assert [(column, piece.tolist()) for column, piece in pieces] == [
        (1, [[11, 12, 13]])
    ]
