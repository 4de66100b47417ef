"""A picture of a comparison: every block of every component, coloured by its SNR."""

from typing import Final

from release.architecture.contents import Part
from release.parity.cells import Cell, cells_of
from release.parity.report import Outcome, ParityReport
from release.pictures.heat_map import (
    ROWS_MAX,
    Column,
    Fill,
    HeatMap,
    Panel,
    Tile,
    plain,
)

_COLUMN_INCHES: Final = 2.15
_LABEL_LENGTH: Final = 24
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


def heat_map_of(report: ParityReport) -> HeatMap:
    """Return the picture of a report."""
    columns = tuple(
        Column(_TITLES[part], tuple(map(_tile, cells)))
        for part, cells in cells_of(report, rows_max=ROWS_MAX).items()
    )
    first, second = (plain(side.path.name) for side in report.sides)
    return HeatMap(
        title=f"A: {first}\nB: {second}\n{_SENTENCES[report.outcome]}",
        panels=(Panel("", columns),),
        scale="signal-to-noise ratio of B against A, in dB",
        legend=(
            (Fill.EQUAL, "equal values"),
            (Fill.ABSENT, "missing"),
            (Fill.ODD, "integers, NaN or infinities that differ"),
        ),
        column_inches=_COLUMN_INCHES,
        label_length=_LABEL_LENGTH,
    )


def _tile(cell: Cell) -> Tile:
    fill, text = _look(cell)
    return Tile(cell.label, text, fill, is_hatched=bool(cell.n_absent))


def _look(cell: Cell) -> tuple[float | Fill, str]:
    """Return the colour of a cell and what is written into it."""
    if cell.group.n_tensors == 0:
        return Fill.ABSENT, f"{cell.n_absent:,} missing"
    absent = f", {cell.n_absent:,} missing" if cell.n_absent else ""
    if cell.has_same_values:
        return Fill.EQUAL, f"equal{absent}"
    if cell.group.snr is None:
        return Fill.ODD, f"differs{absent}"
    if any(each.n_not_finite for each in cell.group.differing.values()):
        return Fill.ODD, f"not finite{absent}"
    return cell.group.snr, f"{cell.group.snr:.1f}{absent}"
