"""Exact decimals: coefficients as fractions, and as text."""

from fractions import Fraction
from typing import Final

MAX_DECIMALS: Final = 60
"""Most decimals of a coefficient."""


def decimal_text(value: Fraction) -> str:
    """Return a coefficient as its exact, shortest decimal: "0.675", "-1", "0"."""
    scaled, rest = divmod(abs(value.numerator) * 10**MAX_DECIMALS, value.denominator)
    if rest:
        raise ValueError(f"{value} has no decimal form of {MAX_DECIMALS} digits")
    whole, decimals = divmod(scaled, 10**MAX_DECIMALS)
    fraction = f"{decimals:0{MAX_DECIMALS}}".rstrip("0")
    sign = "-" if value < 0 else ""
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"
