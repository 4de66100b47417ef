"""The largest magnitudes, found in few readings, against a sort of everything."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from release.engine.methods import select
from release.engine.methods.select import Largest, magnitude_bits, search


def kept_by_search(values, n_wanted, chunk=100):
    """Return which elements are kept, and how often they were read for it."""
    found = search(len(values), n_wanted)
    n_readings = 0
    while not isinstance(found, Largest):
        n_readings += 1
        for start in range(0, len(values), chunk):
            part = torch.tensor(values[start : start + chunk])
            found.see(start, magnitude_bits(part).numpy())
        found = found.conclude()
    left = []
    for start in range(0, len(values), chunk):
        part = torch.tensor(values[start : start + chunk])
        found.drop_others(start, part)
        left.append(part.numpy())
    return np.concatenate(left), n_readings


def kept_by_sort(values, n_wanted):
    order = np.argsort(-np.abs(values), kind="stable")
    result = np.zeros_like(values)
    result[order[:n_wanted]] = values[order[:n_wanted]]
    return result


VALUES = {
    "normal": np.random.default_rng(1).normal(size=1500),
    "half": np.random.default_rng(2).normal(size=1500).astype(np.float16).astype(float),
    "few distinct": np.random.default_rng(3).integers(-3, 4, size=1500) * 2.0**-12,
    "all equal": np.full(1500, -0.1),
    "zeros": np.zeros(1500),
    "last bit": 1.0 + np.random.default_rng(4).integers(0, 900, 1500) * 2.0**-52,
    "whole range": 10.0 ** np.random.default_rng(5).uniform(-320, 308, size=1500),
}


@pytest.mark.parametrize("capacity", [1, 40, 2**17])
@pytest.mark.parametrize("n_wanted", [1, 2, 299, 750, 1499, 1500])
@pytest.mark.parametrize("kind", VALUES)
def test_kept_elements_are_those_of_a_sort(monkeypatch, kind, n_wanted, capacity):
    monkeypatch.setattr(select, "MAX_COLLECTED", capacity)

    left, _ = kept_by_search(VALUES[kind], n_wanted)

    assert np.array_equal(left, kept_by_sort(VALUES[kind], n_wanted))


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_finite_values_are_ranked(data):
    values = np.array(
        data.draw(
            st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1)
        )
    )
    n_wanted = data.draw(st.integers(1, len(values)))

    left, _ = kept_by_search(values, n_wanted, chunk=7)

    assert np.array_equal(left, kept_by_sort(values, n_wanted))


@pytest.mark.parametrize(
    ("kind", "capacity", "n_wanted", "n_readings"),
    [
        ("normal", 2**17, 300, 1),
        ("normal", 100, 300, 2),
        ("normal", 100, 1500, 0),
        ("all equal", 100, 300, 5),
        ("few distinct", 100, 300, 2),
        ("last bit", 100, 300, 4),
    ],
)
def test_readings_are_few(monkeypatch, kind, capacity, n_wanted, n_readings):
    monkeypatch.setattr(select, "MAX_COLLECTED", capacity)

    assert kept_by_search(VALUES[kind], n_wanted)[1] == n_readings
