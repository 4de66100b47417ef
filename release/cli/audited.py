"""The result of an audit as lines for people."""

from collections.abc import Sequence
from typing import Final

from release.audit.report import AuditReport, Finding, audit_sentence, confidence
from release.audit.verdict import Verdict
from release.audit.wording import number_text
from release.console import columns
from release.errors import first_names, visible

_FINDINGS_SHOWN: Final = 12


def report_text(report: AuditReport) -> list[str]:
    """Return the verdict, then a table of what differs, then what else is to know."""
    lines = [
        f"{report.verdict.code}: {audit_sentence(report)}",
        report.verdict.sentence,
    ]
    solved = [each for each in report.findings if each.found]
    shown = [each for each in report.findings if not _is_plain(report, each)]
    if any(not each.found for each in shown):
        lines += ["", *_table(shown)]
    if solved:
        lines += ["", *_coefficients(solved)]
    lines += ["", confidence(report)]
    lines += [f"recipe: {report.recipe}"] if report.recipe else []
    lines += [f"note: {each}" for each in report.notes]
    return lines


def _is_plain(report: AuditReport, finding: Finding) -> bool:
    """Whether a finding says no more than the first line does."""
    is_open = finding.verdict is Verdict.FITTED and not finding.found
    return finding.verdict.follows and report.follows and not is_open


def _table(findings: Sequence[Finding]) -> list[str]:
    rows = [["verdict", "tensors", "where", "what"]]
    for each in findings[:_FINDINGS_SHOWN]:
        what = each.detail if not each.found else "coefficients below"
        rows.append(
            [each.verdict.code, f"{len(each.tensors):,}", _where(each), visible(what)]
        )
    lines = columns(rows, right=(1,))
    rest = findings[_FINDINGS_SHOWN:]
    if rest:
        names = [name for each in rest for name in each.tensors]
        lines.append(f"and {len(rest)} more findings: {first_names(names, 2)}")
    return lines


def _coefficients(findings: Sequence[Finding]) -> list[str]:
    """Return a table of coefficients: a row for each set, a column for each leaf."""
    shown = findings[:_FINDINGS_SHOWN]
    names = sorted({name for each in shown for name in _names(each)})
    rows = [["coefficients", "tensors", *names]]
    for each in shown:
        found = {c.names: c for c in each.found}
        cells = []
        for name in names:
            own = next((c for key, c in found.items() if name in key), None)
            if own is None:
                cells.append("-")
            elif own.value is None or own.error is None:
                cells.append("not determined")
            else:
                together = f" with {'+'.join(own.names)}" if own.names[1:] else ""
                cells.append(f"{number_text(own.value, own.error)}{together}")
        rows.append([_where(each), f"{len(each.tensors):,}", *cells])
        if each.declared:
            declared = [each.declared.get(name, "0") for name in names]
            rows.append(["  declared", "", *declared])
    return columns(rows, right=(1,))


def _names(finding: Finding) -> set[str]:
    solved = {name for each in finding.found for name in each.names}
    return solved | set(finding.declared)


def _where(finding: Finding) -> str:
    return visible(finding.places, 120)
