"""Weights along an arc against angles known in closed form, rounded correctly."""

import math
from fractions import Fraction

import pytest

from release.engine.methods import angle
from release.engine.methods.angle import arc_weights


@pytest.mark.parametrize(
    ("cosine", "t", "expected"),
    [
        (0.0, Fraction(1, 2), (math.sqrt(0.5), math.sqrt(0.5))),
        (0.5, Fraction(1, 2), (math.sqrt(1 / 3), math.sqrt(1 / 3))),
        (-0.5, Fraction(1, 4), (2 / math.sqrt(3), math.sqrt(1 / 3))),
        (0.0, Fraction(1, 3), (math.sqrt(0.75), 0.5)),
        (0.3, Fraction(0), (1.0, 0.0)),
        (0.3, Fraction(1), (0.0, 1.0)),
    ],
)
def test_known_angles(cosine, t, expected):
    first, second, sine = arc_weights(cosine, t)

    assert first == pytest.approx(expected[0], rel=2e-16, abs=1e-60)
    assert second == pytest.approx(expected[1], rel=2e-16, abs=1e-60)
    assert sine == pytest.approx(math.sqrt(1 - cosine**2), rel=2e-16)


@pytest.mark.parametrize("cosine", [-0.999999, -0.7, 0.0, 0.2, 0.97, 0.9999, 1 - 1e-11])
@pytest.mark.parametrize("t", [Fraction(1, 10), Fraction(1, 3), Fraction(9, 10)])
def test_weights_are_those_of_the_c_library_nearly(cosine, t):
    w = math.acos(cosine)

    first, second, sine = arc_weights(cosine, t)

    assert first == pytest.approx(math.sin(float(1 - t) * w) / math.sin(w), rel=1e-9)
    assert second == pytest.approx(math.sin(float(t) * w) / math.sin(w), rel=1e-9)
    assert sine == pytest.approx(math.sin(w), rel=1e-9)


@pytest.mark.parametrize("cosine", [-0.999999, 0.2, 0.9999, 1 - 1e-11])
def test_error_of_the_first_guess_is_forgotten(monkeypatch, cosine):
    t = Fraction(1, 10)
    exact = arc_weights(cosine, t)
    w = math.acos(cosine)
    guess = w + 1e-3 * min(w, math.pi - w)
    monkeypatch.setattr(angle.math, "acos", lambda _: guess)

    assert arc_weights(cosine, t) == exact
