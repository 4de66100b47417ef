"""The figures, their bars and goals, and the table of them."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from timing import Sample, median_seconds, ratios


@dataclass(frozen=True, slots=True)
class Bound:
    """What a figure must be at least, or at most."""

    limit: float
    at_least: bool = False

    def holds(self, value: float) -> bool:
        """Whether `value` is within the bound."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True, slots=True)
class Figure:
    """One row: what was measured, beside what, and what it must reach.

    `values` are what the bounds speak of, one for each pair of runs; their median
    counts. It is empty where `missing` says why nothing was measured.
    """

    what: str
    unit: str
    values: tuple[float, ...]
    own: str = ""
    peer: str = ""
    bar: Bound | None = None
    goal: Bound | None = None
    missing: str = ""

    @property
    def value(self) -> float:
        """The median of the values."""
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        """How the value stands to the bar and the goal."""
        if not self.values:
            return "not measured"
        if self.goal is not None and self.goal.holds(self.value):
            return "goal met"
        if self.bar is None:
            return "goal not met" if self.goal is not None else ""
        return "bar met" if self.bar.holds(self.value) else "BAR MISSED"


def times_faster(
    what: str,
    own: Sequence[Sample],
    peer: Sequence[Sample],
    *,
    bar: Bound | None = None,
    goal: Bound | None = None,
) -> Figure:
    """Return the peer's time over ours: greater is better."""
    figure = share_of_time(what, own, peer, bar=bar, goal=goal)
    return replace(figure, values=tuple(ratios(peer, own)))


def share_of_time(
    what: str,
    own: Sequence[Sample],
    peer: Sequence[Sample],
    *,
    bar: Bound | None = None,
    goal: Bound | None = None,
) -> Figure:
    """Return our time over the peer's: smaller is better."""
    return Figure(
        what=what,
        unit="x",
        values=tuple(ratios(own, peer)),
        own=_seconds(own),
        peer=_seconds(peer),
        bar=bar,
        goal=goal,
    )


def seconds(what: str, own: Sequence[Sample], *, bar: Bound | None = None) -> Figure:
    """Return our time alone, where there is nothing to compare it with."""
    return Figure(what, "s", tuple(sample.seconds for sample in own), bar=bar)


def _seconds(samples: Sequence[Sample]) -> str:
    return f"{median_seconds(samples):.2f} s"


HEADINGS = ("what", "krelease", "peer", "figure", "range", "bar", "goal", "")


def table_lines(figures: Sequence[Figure]) -> list[str]:
    """Return the table as text, columns aligned."""
    rows = [HEADINGS, *(_cells(figure) for figure in figures)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if at in {0, len(widths) - 1} else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "-" * max(map(len, lines)))
    lines += [
        f"{figure.what}: not measured: {figure.missing}"
        for figure in figures
        if figure.missing
    ]
    return lines


def _cells(figure: Figure) -> tuple[str, ...]:
    if not figure.values:
        figures = ("", "")
    else:
        low, high = min(figure.values), max(figure.values)
        spread = f"{_number(figure, low)}-{_number(figure, high)}"
        figures = (
            f"{_number(figure, figure.value)} {figure.unit}",
            spread if len(figure.values) > 1 else "",
        )
    return (
        figure.what,
        figure.own,
        figure.peer,
        *figures,
        _bound(figure, figure.bar),
        _bound(figure, figure.goal),
        figure.verdict,
    )


def _number(figure: Figure, value: float) -> str:
    return f"{value:.2f}" if figure.unit in {"x", "s"} else str(round(value))


def _bound(figure: Figure, bound: Bound | None) -> str:
    if bound is None:
        return ""
    return f"{'>=' if bound.at_least else '<='} {_number(figure, bound.limit)}"


def document_of(figure: Figure) -> dict[str, Any]:
    """Return a figure as plain data for JSON."""
    document = asdict(figure)
    document["value"] = figure.value if figure.values else None
    document["verdict"] = figure.verdict
    return document
