"""What an audit found, as plain data and in sentences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release.audit.fit import Coefficient
from release.audit.verdict import Verdict
from release.errors import ParityError, visible


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that some tensors have in common.

    Attributes:
        verdict: What it is.
        places: Where, in few words: "everywhere", blocks, or groups.
        tensors: The names of the tensors, sorted.
        detail: What was found, one line.
        declared: The coefficients of the recipe, by ingredient; empty without any.
        found: The coefficients that the values show; empty where none were solved for.
        rms: What the best coefficients leave, root mean square; None where not asked.
    """

    verdict: Verdict
    places: str
    tensors: tuple[str, ...]
    detail: str
    declared: Mapping[str, str]
    found: tuple[Coefficient, ...] = ()
    rms: float | None = None

    def document(self) -> dict[str, Any]:
        """Return the finding as plain data."""
        return {
            "verdict": self.verdict.code,
            "places": self.places,
            "n_tensors": len(self.tensors),
            "tensors": list(self.tensors),
            "detail": self.detail,
            "declared": dict(self.declared),
            "found": [
                {"ingredients": list(each.names), "value": each.value}
                | {"standard_error": each.error}
                for each in self.found
            ],
            "residual_rms": self.rms,
        }


@dataclass(frozen=True, slots=True)
class Extent:
    """How much was looked at, and what it came to.

    Attributes:
        is_whole: Whether every value was compared, or a sample.
        n_tensors: Tensors of the file that the recipe makes.
        n_compared: Those that were compared with it; others are made by a method that
            a sample cannot show, or of a missing ingredient.
        n_equal_tensors: Those all of whose compared values are equal.
        n_near_tensors: Further ones, with values that are neighbours of what they
            should be.
        n_values: Values of the tensors.
        n_sampled_values: Those of the sample.
        n_compared_values: Those that were compared with what is declared.
        n_equal_values: Those that are equal.
        n_near_values: Those that are neighbours of what they should be.
    """

    is_whole: bool
    n_tensors: int
    n_compared: int
    n_equal_tensors: int
    n_near_tensors: int
    n_values: int
    n_sampled_values: int
    n_compared_values: int
    n_equal_values: int
    n_near_values: int

    @property
    def n_different_tensors(self) -> int:
        """Compared tensors with values farther off."""
        return self.n_compared - self.n_equal_tensors - self.n_near_tensors


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The result of an audit.

    Attributes:
        path: What was audited.
        recipe: Where the recipe comes from, for people; "" if there is none.
        recipe_sha256: Its identity, "" if there is none.
        verdict: That of the finding that concerns most tensors, grave ones first.
        extent: How much was looked at.
        findings: What was found, most tensors first; one `EXACT` at most.
        notes: What else is to know, one line each.
        missing: Ingredients that were not at hand.
    """

    path: Path
    recipe: str
    recipe_sha256: str
    verdict: Verdict
    extent: Extent
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def follows(self) -> bool:
        """Whether the file follows the recipe, as far as was looked."""
        known = [finding.verdict.follows for finding in self.findings]
        return bool(known) and all(known)

    @property
    def leading(self) -> Finding | None:
        """The finding that the verdict is about, None where all is as declared."""
        bad = [each for each in self.findings if each.verdict is self.verdict]
        return bad[0] if bad else None

    def document(self) -> dict[str, Any]:
        """Return the report as plain data."""
        extent = self.extent
        return {
            "path": str(self.path),
            "recipe": self.recipe,
            "recipe_sha256": self.recipe_sha256,
            "verdict": self.verdict.code,
            "meaning": self.verdict.sentence,
            "follows": self.follows,
            "sentence": audit_sentence(self),
            "confidence": confidence(self),
            "whole": extent.is_whole,
            "tensors": {
                "total": extent.n_tensors,
                "compared": extent.n_compared,
                "equal": extent.n_equal_tensors,
                "near": extent.n_near_tensors,
                "different": extent.n_different_tensors,
            },
            "values": {
                "total": extent.n_values,
                "sampled": extent.n_sampled_values,
                "compared": extent.n_compared_values,
                "equal": extent.n_equal_values,
                "near": extent.n_near_values,
            },
            "findings": [each.document() for each in self.findings],
            "missing_ingredients": list(self.missing),
            "notes": list(self.notes),
        }


def audit_sentence(report: AuditReport) -> str:
    """Return the result in one sentence for a card, without a full stop.

    It says whether all values or a sample were compared, and of how many tensors.
    """
    extent, of = report.extent, f"of {report.extent.n_tensors:,} tensors"
    share = f"in a sample of {_percent(extent)} of the values, "
    if report.missing:
        without = ", ".join(report.missing)
        share = f"without {without}, by {_percent(extent)} of the values, "
    begin = "" if extent.is_whole else share
    if report.verdict is Verdict.EXACT:
        return f"{begin}{extent.n_equal_tensors:,} {of} equal the recipe bit for bit"
    if report.verdict is Verdict.ROUNDING_ORDER:
        n_near = extent.n_near_values
        return (
            f"{begin}{extent.n_equal_tensors:,} {of} equal the recipe bit for bit, and"
            f" the others but for the last bit of {n_near:,}"
            f" {'value' if n_near == 1 else 'values'}"
        )
    if report.verdict is Verdict.FITTED:
        return f"{begin}{_fitted(report.findings)} {of}"
    finding = report.leading
    if finding is None:
        return f"{begin}nothing can be said: {report.verdict.sentence}"
    count = f"{len(finding.tensors):,} {of}"
    return f"{begin}{count} ({finding.places}): {finding.detail}"


def _fitted(findings: Sequence[Finding]) -> str:
    fitted = [each for each in findings if each.verdict is Verdict.FITTED]
    found = [each for each in fitted if each.found]
    n = sum(len(each.tensors) for each in found)
    n_open = sum(len(each.tensors) for each in fitted) - n
    rest = f" and may explain {n_open:,} more, undetermined which," if n_open else ""
    if len(found) == 1:
        return f"{found[0].detail} explain {n:,}{rest}"
    return f"{len(found)} sets of coefficients explain {n:,}{rest}"


def confidence(report: AuditReport) -> str:
    """Return what the result does and does not show, one sentence."""
    extent = report.extent
    if extent.is_whole:
        return "Every value was computed again and compared."
    n = extent.n_compared_values
    if n == 0:
        return "No value could be compared with what it should be."
    compared = _share(n / max(1, extent.n_values))
    if report.missing:
        solved = extent.n_tensors - extent.n_compared
        return (
            f"{n:,} of {extent.n_values:,} values, {compared},"
            f" could be compared with what they should be; {solved:,} of"
            f" {extent.n_tensors:,} tensors lack an ingredient and were judged by"
            f" coefficients, solved for from {_percent(extent)} of the values."
        )
    if 2 * extent.n_compared < extent.n_tensors:
        return (
            f"{extent.n_sampled_values:,} of {extent.n_values:,} values were solved for"
            f" coefficients; {extent.n_compared:,} of {extent.n_tensors:,} tensors"
            " could be compared with what they should be."
        )
    return (
        f"{n:,} of {extent.n_values:,} values were compared, {compared}."
        f" If {_share(3 / n)} of all values or more differed, spread evenly, the sample"
        " would show it with 95 % certainty; what lies in few places it may miss."
    )


def raise_if_different(report: AuditReport) -> None:
    """Turn a report into the error that the command ends with, if it is one.

    Raises:
        ParityError: The file does not follow the recipe, or that cannot be decided; the
            code is the verdict's.
    """
    if report.follows:
        return
    rest = sum(not each.verdict.follows for each in report.findings) - 1
    more = f"; findings beside this one: {rest}" if rest else ""
    raise ParityError(
        f"{visible(report.path, 1024)}: {audit_sentence(report)}{more}",
        code=report.verdict.code,
        hint=_hint(report),
    )


def _hint(report: AuditReport) -> str:
    if report.missing:
        options = " ".join(f"--ingredient {name}=PATH" for name in report.missing)
        return f"pass {options} for a full audit"
    if not report.recipe:
        return "name more ingredients: what was merged may not be among them"
    if not report.extent.is_whole:
        return "without --sample every value is compared; --fit solves without a recipe"
    return "--fit solves for the coefficients without the recipe; --json names all"


def _percent(extent: Extent) -> str:
    return _share(extent.n_sampled_values / max(1, extent.n_values))


def _share(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 else "100 %"
