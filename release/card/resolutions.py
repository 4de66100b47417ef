"""The table of image sizes, computed from the pixel range a maker declares.

Candidates are all widths and heights that are multiples of 64 from 512 to 2048 and
whose product lies in the declared range. For each nominal ratio, those within 3.5 % of
it compete: the smallest and the largest area, and as standard the size SDXL was
trained at, or else the one nearest to 1024x1024 pixels. The list stops at 21:9.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

STEP: Final = 64
SIDES: Final = range(512, 2048 + 1, STEP)
TOLERANCE: Final = Fraction(35, 1000)
TARGET_PIXELS: Final = 1024 * 1024
RATIOS: Final = (
    (1, 1),
    (5, 4),
    (4, 3),
    (3, 2),
    (16, 10),
    (16, 9),
    (2, 1),
    (21, 9),
)
TRAINED: Final = frozenset(
    {(1024, 1024), (1152, 896), (1216, 832), (1344, 768), (1536, 640)}
)
"""Landscape sizes SDXL and Animagine XL were trained at."""


@dataclass(frozen=True, slots=True)
class ImageSize:
    """A landscape or square size in pixels.

    `deviation` is how far width / height lies from the row's ratio, as a fraction of
    the ratio; positive when wider.
    """

    width: int
    height: int
    deviation: Fraction

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.width * self.height

    @property
    def is_trained(self) -> bool:
        """Whether the base model was trained at exactly this size."""
        return (self.width, self.height) in TRAINED


@dataclass(frozen=True, slots=True)
class SizeRow:
    """The sizes offered for one ratio, such as "16:9"."""

    ratio: str
    small: ImageSize
    standard: ImageSize
    large: ImageSize


def size_table(min_pixels: int, max_pixels: int) -> tuple[SizeRow, ...]:
    """Return one row for each ratio that has a size in the range, square first.

    Args:
        min_pixels: Smallest width times height, included.
        max_pixels: Largest width times height, included.
    """
    pairs = [
        (width, height)
        for width in SIDES
        for height in SIDES
        if width >= height and min_pixels <= width * height <= max_pixels
    ]
    rows = (_row(across, down, pairs) for across, down in RATIOS)
    return tuple(row for row in rows if row is not None)


def percent(deviation: Fraction) -> str:
    """Return a deviation as "+2.9 %", or "" when it rounds to nothing."""
    tenths = round(deviation * 1000)
    sign = "+" if tenths > 0 else "-"
    whole, tenth = divmod(abs(tenths), 10)
    return f"{sign}{whole}.{tenth} %" if tenths else ""


def _row(across: int, down: int, pairs: Sequence[tuple[int, int]]) -> SizeRow | None:
    ratio = Fraction(across, down)
    sizes = [ImageSize(w, h, Fraction(w, h) / ratio - 1) for w, h in pairs]
    near = [size for size in sizes if abs(size.deviation) <= TOLERANCE]
    if not near:
        return None
    trained = [size for size in near if size.is_trained]
    return SizeRow(
        ratio=f"{across}:{down}",
        small=min(near, key=lambda size: (size.pixels, abs(size.deviation))),
        standard=min(
            trained or near,
            key=lambda size: (abs(size.pixels - TARGET_PIXELS), abs(size.deviation)),
        ),
        large=min(near, key=lambda size: (-size.pixels, abs(size.deviation))),
    )
