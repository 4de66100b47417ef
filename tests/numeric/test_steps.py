"""Distances in steps, on every value of the narrow dtypes."""

import numpy as np
import pytest
import torch

from release.numeric.steps import steps_between

NARROW = {
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
    torch.float8_e4m3fn: torch.int8,
    torch.float8_e5m2: torch.int8,
}


@pytest.mark.parametrize("dtype", NARROW)
def test_neighbours_are_one_step_apart_and_all_values_their_distance(dtype):
    integers = NARROW[dtype]
    limits = torch.iinfo(integers)
    bits = torch.arange(limits.min, limits.max + 1).to(integers)
    values = bits.view(dtype)
    wide = values.to(torch.float64)
    finite = torch.isfinite(wide)
    values, wide = values[finite], wide[finite]
    order = torch.argsort(wide, stable=True)
    sorted_values, rank = values[order], torch.unique(wide[order], return_inverse=True)

    neighbours = steps_between(sorted_values[:-1], sorted_values[1:])
    from_least = steps_between(sorted_values[:1].expand(len(order)), sorted_values)

    assert neighbours.tolist() == torch.diff(rank[1]).tolist()
    assert from_least.tolist() == rank[1].tolist()


@pytest.mark.parametrize(
    ("dtype", "code"), [(torch.float32, "f4"), (torch.float64, "f8")]
)
def test_wide_values_are_as_many_steps_apart_as_nextafter_goes(dtype, code):
    begin = np.array([0.0, 1.0, -1.0, 1e-40, -0.0, 3.5], code)
    end = begin.copy()
    for _ in range(3):
        end = np.nextafter(end, np.array(np.inf, code))

    first, second = torch.from_numpy(begin), torch.from_numpy(end)

    assert first.dtype is dtype
    assert steps_between(first, second).tolist() == [3] * 6
    assert steps_between(second, first).tolist() == [3] * 6


def test_distance_of_doubles_that_no_integer_holds_is_the_greatest_integer():
    greatest = torch.tensor([1.7e308, 5e-324, 1.0], dtype=torch.float64)

    found = steps_between(greatest, -greatest)

    assert found.tolist() == [2**63 - 1, 2, 2 * 0x3FF0_0000_0000_0000]


def test_nothing_is_changed_and_zeros_are_one_value():
    first = torch.tensor([0.0, -0.0, 2.0], dtype=torch.float16)
    kept = first.clone()

    found = steps_between(first, torch.tensor([-0.0, 0.0, 2.0], dtype=torch.float16))

    assert found.tolist() == [0, 0, 0]
    assert torch.equal(first.view(torch.int16), kept.view(torch.int16))
