"""Rounding to the values of a dtype in float64, against numpy and torch."""

import numpy as np
import pytest
import torch

from release.numeric.cast import round_to
from release.numeric.dtype import Dtype
from release.numeric.grid import grid_of, to_odd


@pytest.fixture(scope="module")
def values():
    random = np.random.default_rng(5)
    scales = 10.0 ** random.uniform(-8, 4.5, 20_000)
    edges = np.array([0.0, -0.0, 2.0**-24, 2.0**-25, 3 * 2.0**-25, 65504.0, -1.0])
    return np.concatenate([random.normal(0, 1, 20_000) * scales, edges])


def test_every_float16_is_a_value_of_its_grid():
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)].astype(np.float64)

    np.testing.assert_array_equal(grid_of(Dtype.F16).round(finite), finite)


def test_float16_is_rounded_as_numpy_does(values):
    inside = values[np.abs(values) < 65504]

    expected = inside.astype(np.float16).astype(np.float64)

    np.testing.assert_array_equal(grid_of(Dtype.F16).round(inside), expected)


@pytest.mark.parametrize("dtype", [Dtype.BF16, Dtype.F8_E4M3, Dtype.F8_E5M2, Dtype.F32])
def test_other_dtypes_are_rounded_as_merges_round_them(values, dtype):
    expected = round_to(torch.from_numpy(values), dtype).to(torch.float64).numpy()

    np.testing.assert_array_equal(grid_of(dtype).round(values), expected)


def test_spacing_is_the_distance_to_the_next_value():
    every = np.arange(0x7BFF, dtype=np.uint16).view(np.float16).astype(np.float64)

    gaps = grid_of(Dtype.F16).spacing(every)

    np.testing.assert_array_equal(gaps[:-1], np.diff(every))


def test_rounding_to_odd_keeps_what_float32_holds_and_marks_the_rest():
    exact = np.array([1.5, 0.1], np.float32).astype(np.float64)
    between = np.array([1 + 2.0**-30, 1 + 2.0**-23 + 2.0**-30])

    np.testing.assert_array_equal(to_odd(exact), exact.astype(np.float32))
    bits = to_odd(between).view(np.uint32)
    assert (bits & 1).tolist() == [1, 1]


def test_what_is_only_copied_has_no_grid():
    with pytest.raises(ValueError, match="I64 has no grid"):
        grid_of(Dtype.I64)
