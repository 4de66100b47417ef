"""Sizes as people read and write them, in terminals and on cards alike."""

import re
from typing import Final

_UNITS: Final = ("B", "kB", "MB", "GB", "TB")
_BINARY_UNITS: Final = ("kib", "mib", "gib", "tib")
_FACTORS: Final = {
    "": 1,
    **{unit.lower(): 1000**power for power, unit in enumerate(_UNITS)},
    **{
        unit.lower(): 1024**power
        for power, unit in enumerate(("B", "KiB", "MiB", "GiB", "TiB"))
    },
}
_NBYTES_END: Final = 2**63
"""No file system counts further."""
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([a-z]*)", re.IGNORECASE)


def size_text(nbytes: int) -> str:
    """Return a size in decimal units with three digits, as "6.94 GB"."""
    value, unit = float(nbytes), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    digits = 0 if unit == 0 or value >= 99.95 else (1 if value >= 9.995 else 2)
    return f"{value:.{digits}f} {_UNITS[unit]}"


def parse_size(text: str) -> int:
    """Return the bytes of a size such as "5GB" (decimal), "5 GiB" or "5000".

    Raises:
        ValueError: It is no size, less than one byte, or 2**63 bytes and more.
    """
    found = _SIZE.fullmatch(text.strip())
    factor = _FACTORS.get(found[2].lower()) if found else None
    nbytes = float(found[1]) * factor if found and factor else 0.0
    if not 1 <= nbytes < _NBYTES_END:
        message = f"{text!r:.80} is not a size such as 5GB"
        raise ValueError(message)
    return int(nbytes)
