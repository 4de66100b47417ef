"""What `krelease parity` found, as text and as a document."""

import math
from collections.abc import Mapping
from typing import Any, Final

from release.console import columns
from release.engine.likeness import Likeness
from release.errors import first_names, visible
from release.numeric.size import size_text
from release.parity.refusal import counted
from release.parity.report import (
    Group,
    Outcome,
    ParityReport,
    Side,
    TensorParity,
    Verdict,
)

ROUNDED_APART: Final = (
    "by no more than 1 step of the coarser dtype: two roundings of one exact result"
    " can differ so; --tolerance ulp=1 accepts it; audit tells whether both follow the"
    " recipe"
)
"""What is said of files that may be two variants of one merge."""
_WORST_SHOWN: Final = 5
_ROUNDED: Final = (Verdict.A_ROUNDED, Verdict.B_ROUNDED)


def text(report: ParityReport) -> list[str]:
    """Return the report for people: the verdict first, then figures by component."""
    lines = [verdict_line(report)]
    lines += [ROUNDED_APART] if report.is_rounded_apart else []
    lines += _side_lines(report)
    if report.tensors:
        lines += ["", *_table(report)]
    lines += _worst(report)
    lines += _absences(report)
    if report.markers and report.outcome is Outcome.SAME_VALUES:
        names = first_names(sorted(report.markers), 3)
        lines.append(f"scales and markers that are not in both alike: {names}")
    return lines


def brief(report: ParityReport) -> list[str]:
    """Return the names of the tensors that do not pass, worst first."""
    names = [
        *(each.name for each in report.failed),
        *(each.name for each in report.other_shapes),
    ]
    if not report.ignores_missing:
        names += [name for side in report.missing for name in side]
    return [visible(name, 4096) for name in names]


def verdict_line(report: ParityReport) -> str:
    """Return the verdict in one sentence, such as "B is A rounded to F8_E4M3: ..."."""
    ignored = ""
    if report.n_missing and report.ignores_missing:
        ignored = f" ({report.n_missing:,} that only one of them has are ignored)"
    return f"{_verdict(report)}{ignored}"


def _verdict(report: ParityReport) -> str:
    total, group = len(report.tensors), report.total
    if report.outcome is Outcome.DIFFERS:
        return f"B differs from A: {'; '.join(_differences(report))}"
    if report.outcome is Outcome.IDENTICAL:
        verb = "has" if total == 1 else "have"
        return f"identical: {counted(total)} {verb} the same bits"
    if report.outcome is Outcome.SAME_VALUES:
        n_stored = total - group.counts.get(Verdict.EQUAL, 0)
        other = f"; {n_stored:,} of them are stored otherwise" if n_stored else ""
        return f"same values in {counted(total)}{other}"
    begin = {
        Outcome.B_ROUNDED: f"B is A rounded to {_targets(report, 1)}",
        Outcome.A_ROUNDED: f"A is B rounded to {_targets(report, 0)}",
        Outcome.ROUNDED: "equal after rounding, in both directions",
        Outcome.WITHIN: f"within tolerance ({', '.join(report.tolerances)})",
    }[report.outcome]
    return f"{begin}: {_shares(group)}"


def _targets(report: ParityReport, side: int) -> str:
    found = {
        each.stored[side].text for each in report.tensors if each.verdict in _ROUNDED
    }
    return " and ".join(sorted(found))


def _shares(group: Group) -> str:
    """Return how many tensors there are of each verdict, in words."""
    n_rounded = sum(group.counts.get(verdict, 0) for verdict in _ROUNDED)
    shares = {
        "equal": group.counts.get(Verdict.EQUAL, 0),
        "with the same values": group.counts.get(Verdict.SAME_VALUES, 0),
        "rounded": n_rounded,
        "different": group.counts.get(Verdict.DIFFERS, 0),
    }
    said = ", ".join(f"{count:,} {word}" for word, count in shares.items() if count)
    return f"{said} of {group.n_tensors:,} tensors"


def _differences(report: ParityReport) -> list[str]:
    found = []
    if report.failed:
        found.append(f"{len(report.failed):,} of {len(report.tensors):,} tensors")
    if report.other_shapes:
        found.append(f"{len(report.other_shapes):,} of another shape")
    if not report.ignores_missing:
        found += [
            f"{len(names):,} only in {side}"
            for side, names in zip("AB", report.missing, strict=True)
            if names
        ]
    return found or ["they have no tensor in common"]


def _side_lines(report: ParityReport) -> list[str]:
    return columns(
        [
            [
                f"  {letter}",
                visible(side.path, 1024),
                side.container,
                f"{side.n_tensors:,} tensors",
                size_text(side.nbytes),
            ]
            for letter, side in zip("AB", report.sides, strict=True)
        ]
    )


def _table(report: ParityReport) -> list[str]:
    head = ["", "tensors", "equal", "same values", "rounded", "differ", "stored as"]
    head += ["SNR dB", "max |A-B|", "max ulp", "cosine"]
    groups = {part.value: group for part, group in report.by_part.items()}
    if len(groups) > 1:
        groups["total"] = report.total
    rows = [row for name, group in groups.items() for row in _rows(name, group)]
    return columns([head, *rows], right=[1, 2, 3, 4, 5, 7, 8, 9, 10])


def _rows(name: str, group: Group) -> list[list[str]]:
    """Return a row for each way in which differing tensors are stored, or one."""
    counts = group.counts
    cells = [
        group.n_tensors,
        counts.get(Verdict.EQUAL, 0),
        counts.get(Verdict.SAME_VALUES, 0),
        sum(counts.get(verdict, 0) for verdict in _ROUNDED),
        counts.get(Verdict.DIFFERS, 0),
    ]
    begin = [name, *(f"{cell:,}" for cell in cells)]
    rows = [
        [*([""] * len(begin) if number else begin), storage, *_figures(found)]
        for number, (storage, found) in enumerate(group.differing.items())
    ]
    return rows or [[*begin, "-", "-", "-", "-", "-"]]


def _figures(found: Likeness) -> list[str]:
    if not found.is_measured:
        return ["-", "-", "-", "-"]
    ulp = "-" if found.max_ulp is None else f"{found.max_ulp:,}"
    return [_snr(found), f"{found.max_abs:.3g}", ulp, f"{found.cosine:.7f}"]


def _snr(found: Likeness) -> str:
    """Return the SNR; none where the only difference is in what is not finite."""
    is_hidden = found.n_not_finite and found.error_square == 0.0
    return "-" if is_hidden else f"{found.snr:.2f}"


def _worst(report: ParityReport) -> list[str]:
    worst = report.by_likeness[:_WORST_SHOWN]
    if not worst:
        return []
    rows = [
        [f"  {visible(each.name)}", each.storage, *_standing(each)] for each in worst
    ]
    return ["", "worst", *columns(rows)]


def _standing(tensor: TensorParity) -> list[str]:
    found = tensor.likeness
    said = "; ".join(tensor.misses) or tensor.verdict.value
    if not found.is_measured:
        return ["-", "-", said]
    ulp = "-" if found.max_ulp is None else f"{found.max_ulp:,} ulp"
    return [f"{_snr(found)} dB", ulp, said]


def _absences(report: ParityReport) -> list[str]:
    lines = [
        f"only in {side}, {len(names):,}: {first_names(names)}"
        for side, names in zip("AB", report.missing, strict=True)
        if names
    ]
    lines += [
        f"shape: {visible(each.name)} is {list(each.shapes[0])} in A, "
        f"{list(each.shapes[1])} in B"
        for each in report.other_shapes[:_WORST_SHOWN]
    ]
    return ["", *lines] if lines else []


def document(report: ParityReport) -> dict[str, Any]:
    """Return everything that a script may want; figures are decimal text."""
    return {
        "a": _side(report.sides[0]),
        "b": _side(report.sides[1]),
        "verdict": report.outcome.value,
        "sentence": verdict_line(report),
        "passed": report.outcome is not Outcome.DIFFERS,
        "rounded_apart": report.is_rounded_apart,
        "tolerances": list(report.tolerances),
        "ignores_missing": report.ignores_missing,
        "only_in_a": list(report.missing[0]),
        "only_in_b": list(report.missing[1]),
        "other_shapes": [
            {"name": each.name, "a": list(each.shapes[0]), "b": list(each.shapes[1])}
            for each in report.other_shapes
        ],
        "markers": list(report.markers),
        "total": _group(report.total),
        "components": {
            part.value: _group(group) for part, group in report.by_part.items()
        },
        "tensors": [_tensor(each) for each in report.tensors],
    }


def _side(side: Side) -> dict[str, Any]:
    return {
        "path": str(side.path),
        "container": side.container,
        "n_tensors": side.n_tensors,
        "nbytes": side.nbytes,
    }


def _group(group: Group) -> dict[str, Any]:
    return {
        "n_tensors": group.n_tensors,
        "n_failed": group.n_failed,
        "verdicts": {
            verdict.value: group.counts.get(verdict, 0) for verdict in Verdict
        },
        "differing": {
            storage: _measured(found) for storage, found in group.differing.items()
        },
    }


def _tensor(tensor: TensorParity) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "component": tensor.part.value,
        "block": tensor.block,
        "a": {"dtype": tensor.stored[0].dtype, "scaled": tensor.stored[0].is_scaled},
        "b": {"dtype": tensor.stored[1].dtype, "scaled": tensor.stored[1].is_scaled},
        "verdict": tensor.verdict.value,
        "passed": not tensor.misses,
        "misses": list(tensor.misses),
        **_measured(tensor.likeness),
    }


def _measured(found: Likeness) -> Mapping[str, Any]:
    return {
        "n_elements": found.n_elements,
        "n_differing": found.n_differing,
        "n_beyond_rounding": found.n_beyond_rounding,
        "n_not_finite": found.n_not_finite,
        "max_abs": f"{found.max_abs:.6g}" if found.is_measured else None,
        "max_ulp": found.max_ulp if found.is_measured else None,
        "snr_db": _decimal(found.snr) if found.is_measured else None,
        "cosine": f"{found.cosine:.9f}" if found.is_measured else None,
    }


def _decimal(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else f"{value}"
