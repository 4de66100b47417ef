"""Coefficients by least squares, on arrays whose truth is known."""

import numpy as np
import pytest

from release.audit.fit import Columns, Moments, solve

NAMES = ("a", "b", "c")
COLUMNS = Columns(NAMES, frozenset())


def columns_of(n, seed=0, same=False):
    random = np.random.default_rng(seed)
    shared = random.normal(0, 0.02, n)
    x = np.array([shared + random.normal(0, 0.002, n) for _ in NAMES])
    x = x.astype(np.float16).astype(np.float64)
    if same:
        x[2] = x[1]
    return x


def moments_of(x, y, columns=COLUMNS):
    rounded = y.astype(np.float16).astype(np.float64)
    sigma = np.spacing(np.abs(x).max(axis=0).astype(np.float16)).astype(np.float64)
    return Moments.of(x, rounded, sigma / np.sqrt(12), columns, mantissa_bits=10)


@pytest.mark.parametrize("row", [(0.3, 0.7, 0.0), (1.0, 1.0, -1.0), (-0.9, 1.65, 0.25)])
def test_coefficients_are_found_within_their_errors(row):
    x = columns_of(20_000)

    fit = solve(moments_of(x, np.array(row) @ x), COLUMNS)

    for found, value in zip(fit.coefficients, row, strict=True):
        assert found.error < 2e-4
        assert abs(found.value - value) < 4 * found.error
    assert 0.2 < fit.ratio < 2


def test_errors_shrink_with_the_root_of_the_sample():
    x = columns_of(1_600)
    few, many = (
        solve(moments_of(x[:, :n], x[0, :n]), COLUMNS).coefficients[1].error
        for n in (100, 1_600)
    )

    assert few / many == pytest.approx(4, rel=0.3)


def test_sums_of_moments_are_moments_of_the_whole():
    x = columns_of(3_000)
    y = 0.4 * x[0] + 0.6 * x[1]
    parts = [moments_of(x[:, s], y[s]) for s in (slice(0, 900), slice(900, 3000))]

    pooled, whole = (
        solve(Moments.total(parts), COLUMNS),
        solve(moments_of(x, y), COLUMNS),
    )

    values = [[c.value for c in fit.coefficients] for fit in (pooled, whole)]
    np.testing.assert_allclose(values[0], values[1], atol=1e-9)


def test_equal_ingredients_have_one_coefficient_together():
    x = columns_of(5_000, same=True)

    fit = solve(moments_of(x, 0.5 * x[0] + 0.2 * x[1] + 0.3 * x[2]), COLUMNS)

    assert [each.names for each in fit.coefficients] == [("a",), ("b", "c")]
    assert fit.coefficients[1].value == pytest.approx(0.5, abs=1e-3)


def test_what_is_a_sum_of_others_gets_no_number():
    x = columns_of(5_000)
    x[2] = 2 * x[1] - x[0]

    fit = solve(moments_of(x, x[0]), COLUMNS)

    assert {each.value for each in fit.coefficients} == {None}
    assert not fit.is_determined


def test_a_lora_is_a_difference_and_may_be_silent():
    columns = Columns(("a", "b", "style"), frozenset({"style"}))
    x = columns_of(5_000)
    x[2] = np.random.default_rng(3).normal(0, 0.003, 5_000)

    spoken = solve(moments_of(x, x[0] + 0.6 * x[2], columns), columns)
    x[2] = 0
    silent = solve(moments_of(x, x[0], columns), columns)

    assert spoken.coefficients[2].value == pytest.approx(0.6, abs=1e-3)
    assert [each.names for each in silent.coefficients] == [("a",), ("b",)]


def test_agreement_is_asked_of_the_values_not_of_single_numbers():
    x = columns_of(5_000)
    moments = moments_of(x, 0.3 * x[0] + 0.7 * x[1])
    fit = solve(moments, COLUMNS)

    assert fit.agrees({"a": 0.3, "b": 0.7}, moments, COLUMNS)
    assert not fit.agrees({"a": 0.31, "b": 0.69}, moments, COLUMNS)


def test_other_values_leave_more_than_roundings():
    x = columns_of(5_000)
    stranger = columns_of(5_000, seed=9)[0]

    assert solve(moments_of(x, stranger), COLUMNS).ratio > 1000
