"""A heat map: panels of columns of tiles, coloured by a number or by what they are.

The colours are those of viridis, which people with any colour vision, and printers
without colour, show in order. What is no number has a colour outside of it, and words.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from release.errors import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

FONT_SIZE: Final = 7.0
ROWS_MAX: Final = 100
"""Tiles of one column that a picture has room for."""

_ROW_INCHES: Final = 0.19
_SIDE_INCHES: Final = 0.3
_HEAD_INCHES: Final = 1.5
_HEAD_ROWS: Final = 1
"""Rows above a panel's tiles, for the titles of its columns."""

_TITLE_ROWS: Final = 1.4
_N_SHADES: Final = 48
"""From 50, the bar in an SVG would be pixels, whose bytes depend on who packs them."""

_BAR_INCHES: Final = 4.5
_BAR_GAP_INCHES: Final = 0.1
_NAME_LENGTH: Final = 60
_STEP: Final = 5
"""The colour scale begins and ends at multiples of it."""

_HATCH: Final = "////"
_EDGE: Final = "#ffffff"
_HATCH_EDGE: Final = "#c0392b"


class Fill(Enum):
    """The colour of a tile that is no number."""

    EQUAL = "#e3e3e3"
    ABSENT = "#ffffff"
    ODD = "#c0392b"


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile.

    Attributes:
        label: What it is of, foreign text.
        text: What is found, foreign text.
        fill: The number that colours it, finite; or what it is instead.
        is_hatched: Whether something of it is absent.
    """

    label: str
    text: str
    fill: float | Fill
    is_hatched: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """Tiles, from the top; at most `ROWS_MAX`."""

    title: str
    tiles: tuple[Tile, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """Columns, from the left; a title above them, "" for none."""

    title: str
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class HeatMap:
    """A picture.

    Attributes:
        title: Above all, of one or several lines; foreign text.
        panels: One below the other.
        scale: What the colours mean, with the unit.
        legend: What the other fills mean; `Fill.ABSENT` is shown hatched.
        column_inches: Width of a column.
        label_length: Characters of a label that a tile has room for.
    """

    title: str
    panels: tuple[Panel, ...]
    scale: str
    legend: tuple[tuple[Fill, str], ...]
    column_inches: float
    label_length: int


def figure_of(heat_map: HeatMap) -> "Figure":
    """Return the figure that matplotlib draws."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    heights = [_rows(panel) for panel in heat_map.panels]
    n_columns = max(len(panel.columns) for panel in heat_map.panels)
    width = heat_map.column_inches * max(n_columns, 2) + _SIDE_INCHES
    height = _ROW_INCHES * sum(heights) + _HEAD_INCHES
    figure = Figure(figsize=(width, height), layout="constrained")
    title = "\n".join(plain(each) for each in heat_map.title.split("\n"))
    figure.suptitle(title, fontsize=FONT_SIZE + 2, parse_math=False)
    all_axes = figure.subplots(
        len(heights), 1, squeeze=False, gridspec_kw={"height_ratios": heights}
    )[:, 0]
    numbers = _numbers(heat_map)
    shades = colormaps["viridis"].resampled(_N_SHADES)
    colours = ScalarMappable(Normalize(*_range(numbers)), shades)
    for axes, panel in zip(all_axes, heat_map.panels, strict=True):
        _draw_panel(axes, panel, heat_map, colours, n_columns=n_columns)
    if numbers:
        share = min(_BAR_INCHES / width, 0.9)
        bar = figure.colorbar(
            colours,
            ax=list(all_axes),
            location="top",
            shrink=share,
            aspect=40,
            pad=_BAR_GAP_INCHES / height,
        )
        bar.set_label(heat_map.scale)
        if bar.solids is not None:  # shades that touch, or a viewer shows seams
            bar.solids.set_edgecolor("face")
    _draw_legend(figure, heat_map.legend)
    return figure


def plain(text: str, limit: int = _NAME_LENGTH) -> str:
    """Return foreign text in characters that every font has."""
    return visible(text, limit).encode("ascii", "backslashreplace").decode("ascii")


def _rows(panel: Panel) -> float:
    n_tiles = max((len(column.tiles) for column in panel.columns), default=1)
    return n_tiles + _HEAD_ROWS + (_TITLE_ROWS if panel.title else 0)


def _numbers(heat_map: HeatMap) -> list[float]:
    return [
        tile.fill
        for panel in heat_map.panels
        for column in panel.columns
        for tile in column.tiles
        if not isinstance(tile.fill, Fill)
    ]


def _range(numbers: Sequence[float]) -> tuple[float, float]:
    """Return where the colours begin and end."""
    least = math.floor(min(numbers, default=0.0) / _STEP) * _STEP
    greatest = math.ceil(max(numbers, default=0.0) / _STEP) * _STEP
    return least, max(greatest, least + _STEP)


def _draw_panel(
    axes: "Axes",
    panel: Panel,
    heat_map: HeatMap,
    colours: "ScalarMappable",
    *,
    n_columns: int,
) -> None:
    axes.set_xlim(0, max(n_columns, 1))
    axes.set_ylim(_rows(panel) - _HEAD_ROWS - (_TITLE_ROWS if panel.title else 0), -1)
    axes.set_axis_off()
    if panel.title:
        axes.set_title(
            plain(panel.title), fontsize=FONT_SIZE + 1, loc="left", parse_math=False
        )
    for number, column in enumerate(panel.columns):
        _write(axes, (number + 0.5, -0.45), plain(column.title))
        for row, tile in enumerate(column.tiles):
            label = _short(tile.label, heat_map.label_length)
            _draw_tile(axes, (number, row), tile, label, colours)


def _draw_tile(
    axes: "Axes",
    place: tuple[int, int],
    tile: Tile,
    label: str,
    colours: "ScalarMappable",
) -> None:
    from matplotlib.patches import Rectangle

    column, row = place
    face = _face(tile, colours)
    style: dict[str, Any] = {"facecolor": face, "edgecolor": _EDGE, "linewidth": 0.8}
    box = None
    if tile.is_hatched:
        style |= {"hatch": _HATCH, "edgecolor": _HATCH_EDGE}
        box = {"facecolor": face, "pad": 0.6, "linewidth": 0}
    axes.add_patch(Rectangle((column + 0.02, row), 0.96, 1.0, **style))
    for x, side, text in ((0.05, "left", label), (0.95, "right", plain(tile.text))):
        place_of_text = (column + x, row + 0.52)
        _write(axes, place_of_text, text, side=side, colour=_ink(face), box=box)


def _face(tile: Tile, colours: "ScalarMappable") -> str:
    from matplotlib.colors import to_hex

    if isinstance(tile.fill, Fill):
        return tile.fill.value
    (colour,) = colours.to_rgba(np.array([tile.fill]))
    return to_hex(tuple(colour))


def _ink(face: str) -> str:
    """Return black or white, whichever shows better on a colour such as "#e3e3e3"."""
    red, green, blue = (int(face[at : at + 2], 16) for at in (1, 3, 5))
    return "black" if 0.3 * red + 0.6 * green + 0.1 * blue > 100 else "white"


def _write(
    axes: "Axes",
    place: tuple[float, float],
    text: str,
    *,
    side: str = "center",
    colour: str = "black",
    box: dict[str, Any] | None = None,
) -> None:
    axes.text(
        *place,
        text,
        horizontalalignment=side,
        verticalalignment="center",
        color=colour,
        bbox=box,
        parse_math=False,
    )


def _draw_legend(figure: "Figure", legend: Sequence[tuple[Fill, str]]) -> None:
    from matplotlib.patches import Patch

    absent: dict[str, Any] = {"edgecolor": _HATCH_EDGE, "hatch": _HATCH}
    handles = [
        Patch(facecolor=fill.value, label=text, **absent if fill is Fill.ABSENT else {})
        for fill, text in legend
    ]
    if handles:
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=len(handles),
            frameon=False,
        )


def _short(label: str, length: int) -> str:
    """Return a label that fits into a tile: both ends tell, its middle goes."""
    text = plain(label)
    if len(text) <= length:
        return text
    end = (length - 2) * 2 // 3
    return f"{text[: length - 2 - end]}..{text[-end:]}"
