"""One tensor in both layouts."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Change(Enum):
    """What besides the name differs in a single file."""

    NONE = "nothing"
    TRANSPOSED = "the matrix is transposed"
    CONVOLUTION = "the matrix is a convolution of size 1 x 1"


@dataclass(frozen=True, slots=True)
class Row:
    """One tensor of a single file, and what it is made of in a folder.

    Attributes:
        single: Its name in a single file.
        parts: Its names in a folder, `COMPONENT/TENSOR`; several are stored one below
            the other.
        change: What differs besides the name.
    """

    single: str
    parts: tuple[str, ...]
    change: Change = Change.NONE


PARAMETERS: Final = ("weight", "bias")


def module_rows(single: str, part: str, change: Change = Change.NONE) -> Iterator[Row]:
    """Yield the rows of a module's weight and bias; only the weight has a `change`."""
    yield Row(f"{single}.weight", (f"{part}.weight",), change)
    yield Row(f"{single}.bias", (f"{part}.bias",))
