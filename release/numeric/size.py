"""Sizes as people read them, in terminals and on cards alike."""

from typing import Final

_UNITS: Final = ("B", "kB", "MB", "GB", "TB")


def size_text(nbytes: int) -> str:
    """Return a size in decimal units with three digits, as "6.94 GB"."""
    value, unit = float(nbytes), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    digits = 0 if unit == 0 or value >= 99.95 else (1 if value >= 9.995 else 2)
    return f"{value:.{digits}f} {_UNITS[unit]}"
