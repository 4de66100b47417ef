"""Weights along an arc, to the same last bit on every machine.

The sines of the C library differ in their last bit between systems. These are computed
in decimal arithmetic of 50 digits and rounded once; they are needed once for a tensor.
"""

import math
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from typing import Final

_DIGITS: Final = 50
_NEGLIGIBLE: Final = Decimal(10) ** -(_DIGITS + 5)
_NEWTON_STEPS: Final = 3
"""From the 7 digits or more of a first guess to 50, doubling in every step."""


def arc_weights(cosine: float, t: Fraction) -> tuple[float, float, float]:
    """Return sin((1 - t) w) / sin(w), sin(t w) / sin(w) and sin(w) itself.

    Args:
        cosine: The cosine of the angle w, above -1 and below 1.
        t: The place on the arc, 0 to 1.
    """
    with localcontext(Context(prec=_DIGITS)):
        place = Decimal(t.numerator) / Decimal(t.denominator)
        angle = _arc_cosine(cosine)
        whole, _ = _sine_and_cosine(angle)
        first, _ = _sine_and_cosine((1 - place) * angle)
        second, _ = _sine_and_cosine(place * angle)
        return float(first / whole), float(second / whole), float(whole)


def _arc_cosine(cosine: float) -> Decimal:
    """Return the angle by Newton's method, which forgets its first guess's error."""
    aim = Decimal(cosine)
    angle = Decimal(math.acos(cosine))
    for _ in range(_NEWTON_STEPS):
        sine, reached = _sine_and_cosine(angle)
        angle += (reached - aim) / sine
    return angle


def _sine_and_cosine(angle: Decimal) -> tuple[Decimal, Decimal]:
    """Return both by their power series, for an angle from 0 to pi."""
    square = angle * angle
    sine, cosine = Decimal(0), Decimal(0)
    term, power = Decimal(1), 0
    while abs(term) > _NEGLIGIBLE:
        cosine += term
        sine += term * angle / (power + 1)
        power += 2
        term = -term * square / (power * (power - 1))
    return sine, cosine
