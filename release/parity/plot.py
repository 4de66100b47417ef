"""A picture of a comparison: every block of every component, coloured by its SNR.

matplotlib is loaded here and nowhere else, and only when a picture is asked for. Equal
reports give equal SVG files: no date, no random names, nothing of the machine.
"""

import importlib.util
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from release.architecture.contents import Part
from release.errors import ReleaseError, UsageError, visible
from release.formats.output import write_text_file
from release.formats.target import check_target
from release.parity.cells import Cell, cells_of
from release.parity.report import Outcome, ParityReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

_METADATA: Final[dict[str, dict[str, Any]]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}
_ROWS_MAX: Final = 100
_ROW_INCHES: Final = 0.19
_COLUMN_INCHES: Final = 2.15
_MARGIN_INCHES: Final = 1.5
_DOTS_PER_INCH: Final = 150
_FONT_SIZE: Final = 7.0
_LABEL_LENGTH: Final = 24
_NAME_LENGTH: Final = 60
_STEP_DB: Final = 5
"""The colour scale begins and ends at multiples of it."""

_EQUAL: Final = "#e3e3e3"
_ABSENT: Final = "#ffffff"
_ODD: Final = "#c0392b"
_EDGE: Final = "#ffffff"
_TITLES: Final = {
    Part.UNET: "U-Net",
    Part.CLIP_L: "CLIP-L",
    Part.CLIP_G: "CLIP-G",
    Part.TEXT_ENCODER: "text encoder",
    Part.VAE: "VAE",
    Part.LORA: "LoRA",
    Part.EMA: "EMA",
    Part.OTHER: "other",
}
_SENTENCES: Final = {
    Outcome.IDENTICAL: "identical",
    Outcome.SAME_VALUES: "the same values",
    Outcome.B_ROUNDED: "B is A rounded",
    Outcome.A_ROUNDED: "A is B rounded",
    Outcome.ROUNDED: "equal after rounding, in both directions",
    Outcome.WITHIN: "within tolerance",
    Outcome.DIFFERS: "B differs from A",
}


class Plot:
    """A picture that shall be drawn; what forbids it is said before any work.

    Attributes:
        path: Where it goes.

    Args:
        path: Its name ends in .png or .svg.
        overwrite: Whether a file that is there may be replaced.

    Raises:
        UsageError: `plot-format` for another ending.
        ReleaseError: `plots-extra` where matplotlib is not installed.
        OutputError: The file is there, or its folder is not.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self.path = path
        self._overwrite = overwrite
        self._format = path.suffix.lower().removeprefix(".")
        if self._format not in _METADATA:
            raise UsageError(
                f"--plot {visible(path, 1024)}: expected a name that ends in .png or "
                ".svg",
                code="plot-format",
                hint="for example --plot parity.svg",
            )
        if importlib.util.find_spec("matplotlib") is None:
            raise ReleaseError(
                "--plot: matplotlib is not installed",
                code="plots-extra",
                hint="run: pip install 'krelease[plots]'",
            )
        check_target(path, overwrite=overwrite, inputs=())

    def draw(self, report: ParityReport) -> None:
        """Draw a report and write the picture.

        Raises:
            OutputError: It cannot be written.
        """
        import matplotlib as mpl

        picture = io.BytesIO()
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update({"svg.hashsalt": "krelease", "font.size": _FONT_SIZE})
            _figure(report).savefig(
                picture,
                format=self._format,
                dpi=_DOTS_PER_INCH,
                metadata=_METADATA[self._format],
            )
        write_text_file(self.path, picture.getvalue(), overwrite=self._overwrite)


def _figure(report: ParityReport) -> "Figure":
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    cells = cells_of(report, rows_max=_ROWS_MAX)
    n_rows = max((len(column) for column in cells.values()), default=1)
    width = _COLUMN_INCHES * max(len(cells), 2) + _MARGIN_INCHES
    height = _ROW_INCHES * n_rows + _MARGIN_INCHES
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    figure.suptitle(_title(report), fontsize=_FONT_SIZE + 2, parse_math=False)
    colours = ScalarMappable(Normalize(*_range(cells)), "viridis")
    for number, (part, column) in enumerate(cells.items()):
        for row, cell in enumerate(column):
            _draw_cell(axes, (number, row), cell, colours)
        _write(axes, (number + 0.5, -0.45), _TITLES[part])
    axes.set_xlim(0, max(len(cells), 1))
    axes.set_ylim(n_rows, -1)
    axes.set_axis_off()
    if any(cell.group.snr is not None for column in cells.values() for cell in column):
        bar = figure.colorbar(colours, ax=axes, fraction=0.03, aspect=40)
        bar.set_label("signal-to-noise ratio of B against A, in dB")
    _draw_legend(figure)
    return figure


def _range(cells: Mapping[Part, Sequence[Cell]]) -> tuple[float, float]:
    """Return where the colours begin and end, in dB."""
    found = [
        cell.group.snr
        for column in cells.values()
        for cell in column
        if cell.group.snr is not None and math.isfinite(cell.group.snr)
    ]
    least = math.floor(min(found, default=0.0) / _STEP_DB) * _STEP_DB
    greatest = math.ceil(max(found, default=0.0) / _STEP_DB) * _STEP_DB
    return least, max(greatest, least + _STEP_DB)


def _draw_cell(
    axes: "Axes", place: tuple[int, int], cell: Cell, colours: "ScalarMappable"
) -> None:
    from matplotlib.patches import Rectangle

    column, row = place
    face, value = _look(cell, colours)
    style: dict[str, Any] = {"facecolor": face, "edgecolor": _EDGE, "linewidth": 0.8}
    box = None
    if cell.n_absent:
        style |= {"hatch": "////", "edgecolor": _ODD}
        box = {"facecolor": face, "pad": 0.6, "linewidth": 0}
    axes.add_patch(Rectangle((column + 0.02, row), 0.96, 1.0, **style))
    label = _short(cell.label)
    for x, side, text in ((0.05, "left", label), (0.95, "right", value)):
        place_of_text = (column + x, row + 0.52)
        _write(axes, place_of_text, text, side=side, colour=_ink(face), box=box)


def _look(cell: Cell, colours: "ScalarMappable") -> tuple[str, str]:
    """Return the colour of a cell and what is written into it."""
    from matplotlib.colors import to_hex

    if cell.group.n_tensors == 0:
        return _ABSENT, f"{cell.n_absent:,} missing"
    absent = f", {cell.n_absent:,} missing" if cell.n_absent else ""
    if cell.has_same_values:
        return _EQUAL, f"equal{absent}"
    if cell.group.snr is None:
        return _ODD, f"differs{absent}"
    if any(each.n_not_finite for each in cell.group.differing.values()):
        return _ODD, f"not finite{absent}"
    (colour,) = colours.to_rgba(np.array([cell.group.snr]))
    return to_hex(tuple(colour)), f"{cell.group.snr:.1f}{absent}"


def _ink(face: str) -> str:
    """Return black or white, whichever shows better on a colour such as "#e3e3e3"."""
    red, green, blue = (int(face[at : at + 2], 16) for at in (1, 3, 5))
    return "black" if 0.3 * red + 0.6 * green + 0.1 * blue > 128 else "white"


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


def _draw_legend(figure: "Figure") -> None:
    from matplotlib.patches import Patch

    figure.legend(
        handles=[
            Patch(facecolor=_EQUAL, label="equal values"),
            Patch(facecolor=_ABSENT, edgecolor=_ODD, hatch="////", label="missing"),
            Patch(facecolor=_ODD, label="integers, NaN or infinities that differ"),
        ],
        loc="outside lower center",
        ncols=3,
        frameon=False,
    )


def _short(label: str) -> str:
    """Return a label that fits into a cell: both ends tell, its middle goes."""
    text = _plain(label, _NAME_LENGTH)
    if len(text) <= _LABEL_LENGTH:
        return text
    end = (_LABEL_LENGTH - 2) * 2 // 3
    return f"{text[: _LABEL_LENGTH - 2 - end]}..{text[-end:]}"


def _title(report: ParityReport) -> str:
    first, second = (_plain(side.path.name, _NAME_LENGTH) for side in report.sides)
    return f"A: {first}\nB: {second}\n{_SENTENCES[report.outcome]}"


def _plain(text: str, limit: int) -> str:
    """Return foreign text in characters that every font has."""
    return visible(text, limit).encode("ascii", "backslashreplace").decode("ascii")
