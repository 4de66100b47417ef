"""Scales: read exactly, checked, and spread over any range of a weight."""

import json
import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from release.errors import ValueRangeError
from release.formats.checkpoint import SafetensorsCheckpoint
from release.formats.layouts.kinds import Scale, grid_shape
from release.formats.scaled import multipliers, read_grid


def naive(grid, scale, shape, start, count):
    """Return the multiplier of each element, one at a time, by the definition."""
    rest = math.prod(shape[1:])
    n_columns = -(-rest // scale.columns)
    return [
        grid[place // rest // scale.rows * n_columns + place % rest // scale.columns]
        for place in range(start, start + count)
    ]


@st.composite
def ranges(draw):
    shape = tuple(draw(st.lists(st.integers(1, 12), min_size=1, max_size=3)))
    rest = math.prod(shape[1:])
    rows = draw(st.integers(1, shape[0] + 2))
    columns = draw(st.integers(1, rest + 2))
    n_elements = math.prod(shape)
    start = draw(st.integers(0, n_elements - 1))
    count = draw(st.integers(1, n_elements - start))
    return Scale("s", rows, columns), shape, start, count


@given(ranges())
@settings(max_examples=600, deadline=None, derandomize=True)
def test_every_range_has_the_multipliers_of_its_elements(case):
    scale, shape, start, count = case
    size = math.prod(grid_shape(shape, scale))
    grid = np.arange(1, size + 1, dtype=np.float32)

    found = multipliers(grid, scale, shape=shape, start=start, count=count)

    expected = naive(grid, scale, shape, start, count)
    if isinstance(found, float):
        assert set(expected) == {found}
    else:
        assert found.dtype == np.float32
        assert found.tolist() == expected


@pytest.mark.parametrize(
    ("scale", "shape", "start", "count"),
    [
        (Scale("s", 8, 10), (8, 10), 3, 70),
        (Scale("s", 1, 10), (8, 10), 30, 10),
        (Scale("s", 1, 10), (8, 10), 37, 3),
        (Scale("s", 2, 10), (8, 10), 45, 15),
        (Scale("s", 4, 4), (8, 10), 14, 4),
        (Scale("s", 1, 4), (8, 10), 28, 2),
        (Scale("s", 1, 1), (8,), 5, 1),
        (Scale("s", 1, 1), (), 0, 1),
    ],
)
def test_range_under_one_scale_needs_one_float(scale, shape, start, count):
    grid = np.arange(1, math.prod(grid_shape(shape, scale)) + 1, dtype=np.float32)

    found = multipliers(grid, scale, shape=shape, start=start, count=count)

    assert type(found) is float
    assert found == naive(grid, scale, shape or (1,), start, 1)[0]


@pytest.mark.parametrize(
    ("start", "count"), [(-1, 2), (0, 0), (0, 81), (80, 1), (79, 2), (5, -1)]
)
def test_range_that_leaves_the_weight_is_the_callers_mistake(start, count):
    with pytest.raises(ValueError, match="elements"):
        multipliers(
            np.ones(8, np.float32),
            Scale("s", 1, 10),
            shape=(8, 10),
            start=start,
            count=count,
        )


@pytest.mark.parametrize("size", [1, 7, 9, 80])
def test_grid_of_another_size_is_the_callers_mistake(size):
    with pytest.raises(ValueError, match="grid"):
        multipliers(
            np.ones(size, np.float32),
            Scale("s", 1, 10),
            shape=(8, 10),
            start=0,
            count=1,
        )


def test_memory_follows_the_range_and_not_the_weight():
    scale, shape = Scale("s", 1, 2**20), (2**14, 2**20)
    grid = np.arange(2**14, dtype=np.float32)

    found = multipliers(grid, scale, shape=shape, start=2**33 + 2**20 - 3, count=6)

    assert found.tolist() == [2**13] * 3 + [2**13 + 1] * 3


@pytest.fixture
def scale_file(tmp_path):
    """Write a checkpoint of one scale tensor `s`; return it open."""

    def write(code, shape, data):
        entry = {"dtype": code, "shape": shape, "data_offsets": [0, len(data)]}
        text = json.dumps({"s": entry}).encode()
        path = tmp_path / "model.safetensors"
        path.write_bytes(struct.pack("<Q", len(text)) + text + data)
        return SafetensorsCheckpoint(path)

    return write


@pytest.mark.parametrize(
    ("code", "data", "expected"),
    [
        ("F32", struct.pack("<3f", 0.5, 2**-149, 3e38), [0.5, 2**-149, 3e38]),
        ("F16", struct.pack("<3e", 0.5, 2**-24, 65504), [0.5, 2**-24, 65504]),
        ("BF16", b"\x80\x3f\x01\x00\x40\x43", [1.0, 2**-133, 192.0]),
    ],
)
def test_values_are_exact_in_float32(code, data, expected, scale_file):
    with scale_file(code, [3, 1], data) as checkpoint:
        grid = read_grid(checkpoint, Scale("s", 1, 4))

    assert grid.dtype == np.float32
    assert grid.shape == (3,)
    assert grid.tolist() == np.array(expected, np.float32).tolist()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -1.0])
def test_bad_value_is_refused_with_its_place(bad, scale_file):
    with (
        scale_file("F32", [4], struct.pack("<4f", 1, 2, bad, 3)) as checkpoint,
        pytest.raises(ValueRangeError) as caught,
    ):
        read_grid(checkpoint, Scale("s", 1, 4))

    assert caught.value.code == "bad-scale"
    assert f"scale s is {bad} at element 2" in str(caught.value)


def test_zero_is_legal_among_others_and_not_alone(scale_file):
    with scale_file("F16", [2], struct.pack("<2e", 0, 1)) as checkpoint:
        assert read_grid(checkpoint, Scale("s", 1, 4)).tolist() == [0, 1]
    with (
        scale_file("F16", [1], struct.pack("<e", 0)) as checkpoint,
        pytest.raises(ValueRangeError),
    ):
        read_grid(checkpoint, Scale("s", 1, 4))
