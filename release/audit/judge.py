"""From samples and counts to findings: what was done instead of the recipe.

The likely is asked first: another convention or a common mistake, tensors left as one
ingredient has them; then coefficients, group by group; then roundings on the way; and
what nothing explains is said to be so.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from release.audit.clusters import Cluster, brought_together, find_clusters
from release.audit.fit import Coefficient
from release.audit.hypotheses import find_explanation, hypotheses
from release.audit.partial import partial_findings
from release.audit.places import ELSEWHERE
from release.audit.question import Evidence, Question
from release.audit.report import Finding
from release.audit.residuals import residual_rms
from release.audit.roundings import best_arithmetic
from release.audit.samples import Sampled, Tally, Task
from release.audit.states import (
    States,
    agrees_with_declared,
    is_nearly_declared,
    names_of,
    tally_of,
)
from release.audit.verdict import Verdict
from release.audit.wording import coefficient_text, declared_text
from release.engine.parallel import run_all

_FOREIGN_SHARE_MAX: Final = 0.1
"""Up to this share of the tensors, unexplained ones are strangers in a file."""
_WEIGHTY: Final = 0.1
"""Share of the tensors from which on coefficients count beside unexplained ones."""
_PROBED: Final = 200
"""Tensors beside a finding that are looked at again."""


def judge(question: Question, evidence: Evidence, states: States) -> list[Finding]:
    """Return all findings, those of most tensors first.

    Args:
        question: What the file should be.
        evidence: What is known of its tensors.
        states: The same tensors by state.
    """
    judge_ = _Judge(question, evidence)
    findings = [*judge_.of_failing(states), *judge_.of_open(states)]
    findings += judge_.of_passing(states, is_rest=bool(findings))
    return sorted(findings, key=lambda each: -len(each.tensors))


class _Judge:
    """Takes tensors from a pile, explanation by explanation."""

    def __init__(self, question: Question, evidence: Evidence) -> None:
        self._question = question
        self._evidence = evidence
        self._samples = evidence.samples
        self._columns = evidence.samples.columns

    def of_passing(self, states: States, *, is_rest: bool) -> Iterator[Finding]:
        """Say which tensors follow the recipe; `is_rest` if others do not."""
        for verdict, pile, detail in (
            (Verdict.ROUNDING_ORDER, states.near, "differ by neighbouring values only"),
            (Verdict.EXACT, states.equal, "equal the recipe bit for bit"),
        ):
            if pile:
                found = self._finding(verdict, pile, detail)
                yield replace(found, places=ELSEWHERE) if is_rest else found

    def of_failing(self, states: States) -> Iterator[Finding]:
        rest = states.failing
        for take in (
            self._broken,
            self._unseen,
            lambda pile: self._alternatives(pile, states.passing),
            self._copies,
            lambda pile: self._fitted(pile, states),
        ):
            findings = list(take(rest))
            yield from findings
            taken = {name for finding in findings for name in finding.tensors}
            rest = [each for each in rest if each.task.name not in taken]

    def of_open(self, states: States) -> Iterator[Finding]:
        """Say what can be said of tensors without a declared sum at hand."""
        rest = [each for each in states.open if each.moments is not None]
        if self._question.recipe is None:
            yield from self._solved(rest)
            return
        made = [each for each in states.open if each.task.job.methods]
        if made:
            yield self._finding(
                Verdict.UNIDENTIFIABLE,
                made,
                "made by a method beyond sums, which only a whole audit compares",
            )
        missing = set(self._question.missing)
        lacking = [each for each in rest if missing & {*(each.task.declared or {})}]
        yield from partial_findings(
            lacking, self._samples, self._evidence.places, missing=missing
        )

    # What is there, whatever the recipe says.

    def _broken(self, pile: Sequence[Sampled]) -> Iterator[Finding]:
        bad = [each for each in pile if not each.is_finite]
        if bad:
            yield self._finding(
                Verdict.UNEXPLAINED, bad, "hold NaN or infinity, which no merge leaves"
            )
        zero = [each for each in pile if each.is_zero]
        if zero:
            yield self._finding(Verdict.ZERO_FILLED, zero, "hold nothing but zeros")
        for each in pile:
            found = self._evidence.counts.get(each.task.name)
            if found is not None and found.problem and each.is_finite:
                yield self._finding(
                    Verdict.UNEXPLAINED, [each], f"the recipe's {found.problem}"
                )

    def _unseen(self, pile: Sequence[Sampled]) -> Iterator[Finding]:
        """Tensors whose sample is right, and single values elsewhere are not."""
        found = []
        for each in pile:
            tally, whole = each.tally, self._tally(each)
            if tally is not None and tally.is_equal and not whole.is_equal:
                found.append(each)
        if found:
            n_off = sum(self._tally(e).n - self._tally(e).n_equal for e in found)
            n = sum(self._tally(each).n for each in found)
            detail = f"{n_off:,} of {n:,} values differ"
            yield self._finding(Verdict.CHANGED, found, detail)

    # Other recipes.

    def _alternatives(
        self, pile: Sequence[Sampled], passing: Sequence[Sampled]
    ) -> Iterator[Finding]:
        recipe = self._question.recipe
        if recipe is None or not pile or self._question.missing:
            return
        found = find_explanation(
            hypotheses(recipe, self._question.text), pile, passing, self._samples
        )
        if found is None:
            return
        members = [each for each in pile if each.task.name in found.names]
        first = found.hypotheses[0]

        def row(task: Task) -> Mapping[str, float]:
            return {name: float(value) for name, value in first.row(task).items()}

        yield self._finding(
            first.verdict,
            members,
            found.detail,
            silent=self._silent(members, passing, row),
        )

    def _copies(self, pile: Sequence[Sampled]) -> Iterator[Finding]:
        """Tensors that are one ingredient's own."""
        recipe = self._question.recipe
        if recipe is None:
            return
        order = sorted(
            (name for name in self._columns.names if name not in recipe.loras),
            key=lambda name: name != recipe.copy_from,
        )

        def origin(sampled: Sampled) -> str:
            values = self._samples.read(sampled.task)
            for name in order:
                own = values.sum({name: 1.0}, self._columns)
                if values.tally(own).is_equal:
                    return name
            return ""

        origins = run_all(origin, pile, threads=self._evidence.threads)
        for name in order:
            members = [e for e, o in zip(pile, origins, strict=True) if o == name]
            if members:
                is_base = name == recipe.copy_from
                yield self._finding(
                    Verdict.NOT_MERGED if is_base else Verdict.TAKEN,
                    members,
                    f"not merged, equal to {name}"
                    if is_base
                    else f"taken from {name} alone",
                )

    # Coefficients.

    def _fitted(self, pile: Sequence[Sampled], states: States) -> Iterator[Finding]:
        explained, strange = self._explained(pile)
        near = [each for each in explained if is_nearly_declared(each, self._columns)]
        rounded = [member for cluster in near for member in cluster.members]
        if rounded:
            best, share = best_arithmetic(rounded, self._question, self._samples)
            if best is not None:
                near, rounded = [], rounded + states.near
                states.near.clear()
                detail = f"{best.sentence} ({100 * share:.4g} % equal so)"
                yield self._rounded(best.verdict, rounded, detail, states.equal)
        agreeing: list[Sampled] = []
        for cluster in explained:
            if agrees_with_declared(cluster, self._columns):
                agreeing += cluster.members if cluster in near else ()
            elif cluster in near or not is_nearly_declared(cluster, self._columns):
                yield self._differing(cluster, states.passing)
        if agreeing:
            tallies = [self._tally(each) for each in agreeing]
            n = sum(tally.n for tally in tallies)
            off = 100 * (1 - sum(tally.n_equal for tally in tallies) / n)
            detail = (
                f"the coefficients agree, {off:.2g} % of values are rounded otherwise"
            )
            yield self._rounded(Verdict.ARITHMETIC, agreeing, detail, states.passing)
        yield from self._strange(strange)

    def _rounded(
        self,
        verdict: Verdict,
        pile: Sequence[Sampled],
        detail: str,
        passing: Sequence[Sampled],
    ) -> Finding:
        """Return a finding on arithmetic; tensors that pass may be of it as well."""
        return self._finding(verdict, pile, detail, silent=names_of(passing))

    def _explained(
        self, pile: Sequence[Sampled]
    ) -> tuple[list[Cluster], list[Sampled]]:
        """Return what coefficients explain, and the tensors that none do.

        Where most tensors are no sums of the ingredients, coefficients that happen to
        fit a few small ones mean nothing.
        """
        fitted = [each for each in pile if each.moments is not None]
        strange = [each for each in pile if each.moments is None]
        explained: list[Cluster] = []
        for cluster in find_clusters(fitted, self._columns):
            if cluster.is_explained:
                explained.append(cluster)
            else:
                strange += cluster.members
        if 2 * len(strange) > len(pile):
            floor = _WEIGHTY * len(pile)
            for cluster in explained:
                strange += cluster.members if len(cluster.members) < floor else ()
            explained = [each for each in explained if len(each.members) >= floor]
        return brought_together(explained), strange

    def _silent(
        self,
        pile: Sequence[Sampled],
        passing: Sequence[Sampled],
        row: Callable[[Task], Mapping[str, float]],
    ) -> frozenset[str]:
        """Return tensors beside some that another row would leave as they are."""
        names = names_of(pile)
        beside = self._evidence.places.beside(names)
        near = [each for each in passing if each.task.name in beside][:_PROBED]

        def is_silent(sampled: Sampled) -> bool:
            values = self._samples.read(sampled.task)
            return values.tally(values.sum(row(sampled.task), self._columns)).is_near

        return names_of([each for each in near if is_silent(each)])

    def _differing(self, cluster: Cluster, passing: Sequence[Sampled]) -> Finding:
        row = cluster.members[0].task.row or {}
        found = {each.names[0]: each.value or 0.0 for each in cluster.fit.coefficients}
        parts = []
        for each in cluster.fit.coefficients:
            declared = sum(row.get(name, 0.0) for name in each.names)
            if each.is_off(declared):
                parts.append(f"{coefficient_text(each)}, declared {declared:.6g}")
        undetermined = "coefficients that cannot be told one by one"
        return self._finding(
            Verdict.COEFFICIENT,
            cluster.members,
            "; ".join(parts) or undetermined,
            found=cluster.fit.coefficients,
            silent=self._silent(cluster.members, passing, lambda _: found),
        )

    def _solved(self, pile: Sequence[Sampled]) -> Iterator[Finding]:
        explained, strange = self._explained(pile)
        for cluster in explained:
            found = cluster.fit.coefficients
            is_blind = all(len(e.names) > 1 or e.value is None for e in found)
            yield self._finding(
                Verdict.UNIDENTIFIABLE if is_blind else Verdict.FITTED,
                cluster.members,
                ", ".join(coefficient_text(each) for each in found),
                found=found,
            )
        yield from self._strange(strange)

    # Roundings.

    def _strange(self, pile: Sequence[Sampled]) -> Iterator[Finding]:
        if not pile:
            return
        share = len(pile) / len(self._evidence.sampled)
        is_few = share <= _FOREIGN_SHARE_MAX
        rms = residual_rms(pile, self._samples)
        detail = "no sum of the ingredients, and of too few values to solve for one"
        if rms is not None:
            detail = (
                f"no sum of the ingredients; the best leaves rms {rms[0]:.2g} of"
                f" {rms[1]:.2g}"
            )
        yield self._finding(
            Verdict.FOREIGN if is_few else Verdict.UNEXPLAINED,
            pile,
            detail,
            rms=None if rms is None else rms[0],
        )

    def _tally(self, sampled: Sampled) -> Tally:
        return tally_of(sampled, self._evidence.counts) or Tally(0, 0, 0)

    def _finding(
        self,
        verdict: Verdict,
        pile: Sequence[Sampled],
        detail: str,
        *,
        found: tuple[Coefficient, ...] = (),
        rms: float | None = None,
        silent: frozenset[str] = frozenset(),
    ) -> Finding:
        names = names_of(pile)
        return Finding(
            verdict=verdict,
            places=self._evidence.places.text(names, silent),
            tensors=tuple(sorted(names)),
            detail=detail,
            declared=declared_text(pile),
            found=found,
            rms=rms,
        )
