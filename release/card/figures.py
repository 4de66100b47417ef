"""Numbers as a card shows them.

All arithmetic is on integers and decimals, so a card has the same digits everywhere.
"""

import re
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Final

from release.errors import CardError, visible

_EXACT: Final = "exact"
_MAX_EXPONENT: Final = 400
"""Beyond float64's range; a longer number would only fill the memory."""

_MAX_DECIBELS: Final = 20_000
"""No two float64 values have a larger ratio."""

_COEFFICIENT: Final = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,80})?")


def snr(figure: str) -> str:
    """Return a signal-to-noise figure to 0.1 dB, "exact" when nothing was lost."""
    if figure == "inf":
        return _EXACT
    return f"{_decimal(figure):.1f} dB"


def decibels(figure: str) -> float | None:
    """Return a signal-to-noise figure as a number; None when nothing was lost.

    Raises:
        CardError: Not a decimal number, or beyond what float64 values can have.
    """
    if figure == "inf":
        return None
    value = _decimal(figure)
    if abs(value) > _MAX_DECIBELS:
        raise _not_a_number("figure", figure)
    return float(value)


def error(figure: str) -> str:
    """Return an absolute error to three significant digits."""
    if figure == "inf":
        return figure
    return f"{_decimal(figure):.3g}"


def number(value: float) -> str:
    """Return a setting such as a CFG scale without trailing zeros: "4", "6.5"."""
    return f"{value:g}"


def coefficient(text: str) -> Fraction:
    """Return a coefficient of a recipe, exact.

    Raises:
        CardError: Not a plain decimal.
    """
    if not _COEFFICIENT.fullmatch(text):
        raise _not_a_number("coefficient", text)
    return Fraction(text)


def _decimal(figure: str) -> Decimal:
    try:
        value = Decimal(figure)
    except InvalidOperation as cause:
        raise _not_a_number("figure", figure) from cause
    if abs(value.adjusted()) > _MAX_EXPONENT:
        raise _not_a_number("figure", figure)
    return value


def _not_a_number(what: str, text: str) -> CardError:
    return CardError(
        f"manifest: {what} {visible(text, 40)} is not a decimal number of use",
        code="figure",
        hint="build the release again to get a sound manifest",
    )
