"""slerp against the textbook formula on whole tensors."""

import math

import numpy as np
import pytest

from release.engine.methods.seam import NotFiniteError


def slerp(a, b, t):
    """Return the point on the arc, its length on the line between the lengths."""
    length_a, length_b = np.linalg.norm(a), np.linalg.norm(b)
    # Kahan's angle between two unit vectors, sound at every angle.
    unit_a, unit_b = a / length_a, b / length_b
    angle = 2 * math.atan2(
        np.linalg.norm(unit_a - unit_b), np.linalg.norm(unit_a + unit_b)
    )
    arc = np.sin((1 - t) * angle) * unit_a + np.sin(t * angle) * unit_b
    return arc / np.sin(angle) * ((1 - t) * length_a + t * length_b)


@pytest.mark.parametrize("t", [0.1, 0.25, 0.5, 0.999])
@pytest.mark.parametrize("spread", [1e-3, 0.3, 30.0])
@pytest.mark.parametrize("shape", [(64, 50), (5, 7, 3, 3), (2500,), (2,)])
def test_result_is_on_the_arc(merge, weights, shape, spread, t):
    a, b = weights(*shape, spread=spread)

    result = merge("slerp", [a, b], t=t)

    np.testing.assert_allclose(result, slerp(a, b, t), rtol=1e-11, atol=1e-13)


def test_quarter_turn_halfway_is_an_eighth_turn(merge):
    a, b = np.array([[3.0, 0.0]]), np.array([[0.0, 5.0]])

    result = merge("slerp", [a, b], t=0.5)

    np.testing.assert_allclose(result, [[4 * math.sqrt(0.5)] * 2], rtol=1e-15)


@pytest.mark.parametrize("t", [0, 1])
@pytest.mark.parametrize("seed", range(5))
def test_ends_are_the_models(merge, seed, t):
    models = np.random.default_rng(seed).normal(size=(2, 9, 400))

    assert np.array_equal(merge("slerp", models, t=t), models[t])


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1.0, 2.0, -3.0], [0.0, 0.0, 0.0]),
        ([0.0, 0.0, 0.0], [1.0, 2.0, -3.0]),
        ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
        ([1.0, 2.0, -3.0], [1.0, 2.0, -3.0]),
        ([1.0, 2.0, -3.0], [2.0, 4.0, -6.0]),
        ([1.0, 2.0, -3.0], [-1.0, -2.0, 3.0]),
        ([0.1, 0.7, 0.3], [-0.3, -2.1, -0.9]),
    ],
)
def test_vectors_without_an_arc_are_joined_by_a_line(merge, a, b):
    a, b = np.array(a), np.array(b)

    result = merge("slerp", [a, b], t=0.25)

    np.testing.assert_allclose(result, 0.75 * a + 0.25 * b, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("number", [2.0, -2.0, 0.0])
def test_number_has_no_arc(merge, number):
    result = merge("slerp", [np.array(3.0), np.array(number)], t=0.5)

    assert result == (3.0 + number) / 2


def test_arc_and_line_meet_where_the_line_takes_over(merge):
    a = np.array([1.0, 0.0])
    near, nearer = (np.array([math.cos(w), math.sin(w)]) for w in (2e-6, 5e-7))

    for b in (near, nearer):
        result = merge("slerp", [a, b], t=0.3)
        np.testing.assert_allclose(result, 0.7 * a + 0.3 * b, rtol=1e-11)


def test_cut_of_the_chunks_changes_no_bit(merge, weights):
    models = weights(29, 37)

    results = [merge("slerp", models, t=0.3, cut=cut) for cut in (1, 640, 2000)]

    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


@pytest.mark.parametrize("at", [0, 1])
def test_squares_beyond_float64_are_reported(merge, at):
    models = [np.ones(5), np.ones(5)]
    models[at] = np.full(5, 1e200)

    with pytest.raises(NotFiniteError) as found:
        merge("slerp", models, t=0.5)

    assert (found.value.argument, found.value.element) == (at, None)
