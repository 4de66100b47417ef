"""Casts against torch's own, numpy's, and exact rational arithmetic."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch

from release.numeric.cast import TORCH_DTYPES, round_to
from release.numeric.dtype import Dtype

NARROW = [Dtype.F16, Dtype.BF16, Dtype.F8_E4M3, Dtype.F8_E5M2]
EIGHT_BITS = torch.arange(256, dtype=torch.int32).to(torch.uint8)
SIXTEEN_BITS = torch.arange(65536, dtype=torch.int32).to(torch.uint16)


def patterns(dtype: Dtype) -> torch.Tensor:
    codes = EIGHT_BITS if dtype.bits == 8 else SIXTEEN_BITS
    return codes.view(TORCH_DTYPES[dtype])


def bits(tensor: torch.Tensor) -> np.ndarray:
    unsigned = {1: torch.uint8, 2: torch.uint16, 4: torch.int32, 8: torch.int64}
    return tensor.view(unsigned[tensor.element_size()]).numpy()


def assert_same(got: torch.Tensor, expected: torch.Tensor) -> None:
    got_nan, expected_nan = torch.isnan(got.float()), torch.isnan(expected.float())
    assert torch.equal(got_nan, expected_nan)
    kept = ~got_nan.numpy()
    assert np.array_equal(bits(got)[kept], bits(expected)[kept])


@pytest.mark.parametrize("source", NARROW)
@pytest.mark.parametrize("target", [*NARROW, Dtype.F32, Dtype.F64])
def test_every_pattern_casts_as_torch_casts_it_after_clamping(source, target):
    values = patterns(source)
    exact = values.to(torch.float32)
    clamps = target.is_fp8 and target is not source
    if clamps:
        exact = exact.clamp(-target.finite_max, target.finite_max)
    expected = exact.to(TORCH_DTYPES[target])

    assert_same(round_to(values, target), expected)


@pytest.mark.parametrize("dtype", NARROW)
def test_every_pattern_survives_a_round_trip_through_float32(dtype):
    values = patterns(dtype)
    finite = values[torch.isfinite(values.float())]

    there = round_to(finite, Dtype.F32)
    assert np.array_equal(bits(round_to(there, dtype)), bits(finite))


def neighbours(dtype: Dtype) -> list[float]:
    """Points where a second rounding would show: ties, and their float64 neighbours."""
    codes = patterns(dtype).to(torch.float64)
    finite = codes[torch.isfinite(codes) & (codes >= 0)].unique().tolist()
    finite = finite[:: max(1, len(finite) // 300)] + finite[:40] + finite[-40:]
    points = []
    for low, high in pairwise(finite):
        tie = (low + high) / 2
        points += [tie, np.nextafter(tie, 0.0), np.nextafter(tie, np.inf), low]
        points += [tie * (1 + 2.0**-30), tie * (1 - 2.0**-30)]
    return [sign * point for point in points for sign in (1.0, -1.0)]


def nearest_even(value: float, dtype: Dtype) -> float:
    """Round by comparing exact distances to all values of the dtype."""
    codes = patterns(dtype).to(torch.float64)
    table = nearest_even.tables.setdefault(
        dtype, np.unique(np.abs(codes[torch.isfinite(codes)].numpy()))
    )
    magnitude = abs(value)
    index = int(np.searchsorted(table, magnitude))
    if index == len(table):
        return float(np.copysign(table[-1], value))
    low, high = float(table[max(index - 1, 0)]), float(table[index])
    below = Fraction(magnitude) - Fraction(low)
    above = Fraction(high) - Fraction(magnitude)
    # The table is sorted by code, so the even one of two neighbours has an even index.
    up = above < below or (above == below and index % 2 == 0)
    return float(np.copysign(high if up else low, value))


nearest_even.tables = {}


@pytest.mark.parametrize("dtype", NARROW)
def test_float64_is_rounded_once_even_beside_ties(dtype):
    points = neighbours(dtype)
    expected = [nearest_even(point, dtype) for point in points]

    got = round_to(torch.tensor(points, dtype=torch.float64), dtype).to(torch.float64)

    wrong = [
        (point, is_, want)
        for point, is_, want in zip(points, got.tolist(), expected, strict=True)
        if is_ != want
    ]
    assert wrong == []


def test_the_ties_would_catch_a_double_rounding():
    points = torch.tensor(neighbours(Dtype.F16), dtype=torch.float64)

    twice = points.to(torch.float32).to(torch.float16)

    assert not torch.equal(twice, round_to(points, Dtype.F16))


def test_random_float64_rounds_to_float16_as_numpy_rounds_it():
    values = np.random.default_rng(7).normal(0, 0.02, 400_000)
    values[::3] *= 2.0 ** np.random.default_rng(8).integers(-20, 20, values[::3].size)
    expected = values.astype(np.float16)

    got = round_to(torch.from_numpy(values), Dtype.F16)

    assert np.array_equal(got.numpy().view(np.uint16), expected.view(np.uint16))


@pytest.mark.parametrize("dtype", [Dtype.F8_E4M3, Dtype.F8_E5M2])
@pytest.mark.parametrize("source", [torch.float64, torch.float32])
def test_fp8_clamps_to_the_finite_range_and_keeps_nan(dtype, source):
    values = torch.tensor(
        [1e30, -1e30, float("inf"), -float("inf"), float("nan"), dtype.finite_max + 1],
        dtype=source,
    )

    got = round_to(values, dtype).to(torch.float32)

    edge = dtype.finite_max
    assert got[[0, 1, 2, 3, 5]].tolist() == [edge, -edge, edge, -edge, edge]
    assert bool(torch.isnan(got[4]))


@pytest.mark.parametrize("dtype", NARROW)
def test_rounding_is_monotone(dtype):
    values = torch.linspace(-3, 3, 100_001, dtype=torch.float64).pow(3)

    got = round_to(values, dtype).to(torch.float64)

    assert bool((got.diff() >= 0).all())


def test_shape_is_kept_and_the_source_is_not_modified():
    source = torch.full((2, 3, 1), 1.0009765625, dtype=torch.float64)

    got = round_to(source, Dtype.BF16)

    assert got.shape == (2, 3, 1)
    assert bool((source == 1.0009765625).all())
