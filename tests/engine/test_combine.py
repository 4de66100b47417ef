"""Sums of a chunk: float32 is used only where it gives float64's very numbers."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from release.engine.combine import Combiner, exact_limit

GAMMA = (-1.0, 1.0, 0.25, 0.75)
DYADIC = st.integers(-32, 32).filter(bool).map(lambda steps: steps / 8)


def combine(operands, coefficients):
    """Return the sum in float32, and in float64 where that was needed."""
    combiner = Combiner(len(operands[0]))
    combiner.begin(len(operands[0]), coefficients)
    for operand, coefficient in zip(operands, coefficients, strict=True):
        combiner.add(operand, coefficient)
    exact, value = combiner.finish()
    return value.clone(), None if exact is None else exact.clone()


def in_float64(operands, coefficients):
    total = np.zeros(len(operands[0]))
    for operand, coefficient in zip(operands, coefficients, strict=True):
        total = total + coefficient * operand.to(torch.float64).numpy()
    return total


def halves(seed, magnitude, count=400):
    """F16 values of mixed size: most near `magnitude`, some at the smallest steps."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(count, generator=generator) * magnitude
    values[::3] *= 2.0 ** torch.randint(-24, 0, values[::3].shape, generator=generator)
    return values.to(torch.float16)


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    power=st.integers(-20, 12),
    coefficients=st.lists(DYADIC, min_size=1, max_size=5),
)
@example(seed=1, power=0, coefficients=list(GAMMA))
@example(seed=2, power=8, coefficients=list(GAMMA))
def test_sum_of_half_values_is_float64s_at_every_size(seed, power, coefficients):
    operands = [halves(seed + at, 2.0**power) for at in range(len(coefficients))]

    value, exact = combine(operands, coefficients)

    expected = in_float64(operands, coefficients)
    assert np.array_equal((value if exact is None else exact).numpy(), expected)


@pytest.mark.parametrize("large", [0.25, 0.2501, 1.0, 300.0])
def test_sum_that_float32_would_round_is_taken_in_float64(large):
    step = 2.0**-24  # the smallest F16 value: with 0.25 it is a step of 2**-26
    operands = [torch.tensor([v], dtype=torch.float16) for v in (-large, 0, step, 0)]

    _, exact = combine(operands, GAMMA)

    assert exact is not None
    assert exact.item() == -float(operands[0]) + step / 4


def test_sum_below_the_limit_stays_in_float32():
    operands = [halves(at, 0.01) for at in range(4)]

    value, exact = combine(operands, GAMMA)

    assert exact is None
    assert np.array_equal(value.numpy(), in_float64(operands, GAMMA))


def test_chunk_that_leaves_float32_midway_keeps_what_it_had():
    operands = [halves(1, 0.01), halves(2, 0.01), halves(3, 100.0), halves(4, 0.01)]

    _, exact = combine(operands, GAMMA)

    assert exact is not None
    assert np.array_equal(exact.numpy(), in_float64(operands, GAMMA))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_come_through(bad):
    operands = [halves(at, 0.01) for at in range(4)]
    operands[2][7] = bad

    value, _ = combine(operands, GAMMA)

    assert not bool(torch.isfinite(value[7]))


@pytest.mark.parametrize(
    ("coefficients", "limit"),
    [
        ((1.0,), 1.0),
        (GAMMA, 0.25),
        ((0.5, -0.125), 0.125),
        ((2.0**-12, 1.0), 2.0**-12),
        ((2.0**-13, 1.0), 0.0),  # too fine a step
        ((0.1, 0.9), 0.0),  # no multiple of a power of two
        ((8192.0, 1.0), 0.0),  # products of more than 24 bits
        ((8191.0, 1.0), 1.0),
    ],
)
def test_limit_follows_from_the_coefficients(coefficients, limit):
    assert exact_limit(coefficients) == limit


def test_other_dtypes_are_summed_in_float64():
    operands = [halves(1, 0.01).float(), halves(2, 0.01).bfloat16()]

    _, exact = combine(operands, (1.0, 0.5))

    assert exact is not None
    assert np.array_equal(exact.numpy(), in_float64(operands, (1.0, 0.5)))
