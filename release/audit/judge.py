"""From samples and counts to findings: what was done instead of the recipe.

The likely is asked first: another convention or a common mistake, tensors left as one
ingredient has them; then coefficients, group by group; then roundings on the way; and
what nothing explains is said to be so.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from release.audit.bench import Bench
from release.audit.hypotheses import find_explanation, hypotheses
from release.audit.partial import partial_findings
from release.audit.places import ELSEWHERE
from release.audit.question import Evidence, Question
from release.audit.report import Finding
from release.audit.samples import Sampled, Tally, Task
from release.audit.solutions import fitted, solved
from release.audit.states import (
    States,
    names_of,
)
from release.audit.verdict import Verdict
from release.audit.wording import cast_text
from release.engine.parallel import run_all
from release.recipe.rows import is_method

_PROVING: Final = 32
"""Values that must be equal to say where they come from."""
_STRAY_TENSORS: Final = 0.01
"""Share of the tensors up to which values that are off may be strays."""
_STRAY_VALUES: Final = 0.001
"""The same of a tensor's values."""
_STRAYS: Final = 3
"""Values that are few even in a small tensor, if they are not many of it."""
_STRAYS_SHARE: Final = 0.1


def judge(question: Question, evidence: Evidence, states: States) -> list[Finding]:
    """Return all findings, those of most tensors first.

    Args:
        question: What the file should be.
        evidence: What is known of its tensors.
        states: The same tensors by state.
    """
    judge_ = _Judge(question, evidence)
    findings = [*judge_.of_failing(states), *judge_.of_open(states)]
    is_rest = bool(findings) or bool(states.cast)
    findings += judge_.of_passing(states, is_rest=is_rest)
    return sorted(findings, key=lambda each: -len(each.tensors))


class _Judge:
    """Takes tensors from a pile, explanation by explanation."""

    def __init__(self, question: Question, evidence: Evidence) -> None:
        self._bench = Bench(question, evidence)
        self._question = question
        self._evidence = evidence
        self._samples = evidence.samples
        self._columns = evidence.samples.columns

    def of_passing(self, states: States, *, is_rest: bool) -> Iterator[Finding]:
        """Say which tensors follow the recipe; `is_rest` if others do not."""
        if states.cast:
            yield self._bench.finding(
                Verdict.INTERMEDIATE,
                states.cast,
                f"the result was rounded to {cast_text(states.cast)}, as when a variant"
                " is cast from a file",
                silent=names_of(states.passing),
            )
        for verdict, pile, detail in (
            (Verdict.ROUNDING_ORDER, states.near, "differ by neighbouring values only"),
            (Verdict.EXACT, states.equal, "equal the recipe bit for bit"),
        ):
            if pile:
                found = self._bench.finding(verdict, pile, detail)
                yield replace(found, places=ELSEWHERE) if is_rest else found

    def of_failing(self, states: States) -> Iterator[Finding]:
        rest = states.failing
        for take in (
            self._broken,
            self._unseen,
            lambda pile: self._alternatives(pile, [*states.passing, *states.cast]),
            lambda pile: self._copies(pile, states.passing),
            self._isolated,
            lambda pile: fitted(self._bench, pile, states),
        ):
            findings = list(take(rest))
            yield from findings
            taken = {name for finding in findings for name in finding.tensors}
            rest = [each for each in rest if each.task.name not in taken]

    def of_open(self, states: States) -> Iterator[Finding]:
        """Say what can be said of tensors without a declared sum at hand."""
        if self._question.recipe is None:
            yield from solved(self._bench, states.open)
            return
        missing = set(self._question.missing)
        made: list[Sampled] = []
        lacking: list[Sampled] = []
        other: list[Sampled] = []
        for each in states.open:
            declared = each.task.declared or {}
            if any(is_method(leaf) for leaf in declared):
                made.append(each)
            else:
                has_part = each.moments is not None and missing & declared.keys()
                (lacking if has_part else other).append(each)
        for pile, detail in (
            (made, "made by a method beyond sums, which only a whole audit compares"),
            (other, "cannot be compared: an ingredient at hand lacks them"),
        ):
            if pile:
                yield self._bench.finding(Verdict.UNIDENTIFIABLE, pile, detail)
        yield from partial_findings(
            lacking,
            self._samples,
            self._evidence.places,
            missing=missing,
            loras={*self._question.recipe.loras},
        )

    # What is there, whatever the recipe says.

    def _broken(self, pile: Sequence[Sampled]) -> Iterator[Finding]:
        bad = [each for each in pile if not each.is_finite]
        if bad:
            yield self._bench.finding(
                Verdict.UNEXPLAINED, bad, "hold NaN or infinity, which no merge leaves"
            )
        zero = [each for each in pile if each.is_zero]
        if zero:
            yield self._bench.finding(
                Verdict.ZERO_FILLED, zero, "hold nothing but zeros"
            )
        for each in pile:
            found = self._evidence.counts.get(each.task.name)
            if found is not None and found.problem and each.is_finite:
                yield self._bench.finding(
                    Verdict.UNEXPLAINED, [each], f"the recipe's {found.problem}"
                )

    def _unseen(self, pile: Sequence[Sampled]) -> Iterator[Finding]:
        """Tensors whose sample is right, and single values elsewhere are not."""
        found = []
        for each in pile:
            tally, whole = each.tally, self._bench.tally(each)
            if tally is not None and tally.is_equal and not whole.is_equal:
                found.append(each)
        if found:
            yield self._changed(found)

    def _isolated(self, pile: Sequence[Sampled]) -> Iterator[Finding]:
        """Few tensors in which few values are off, and some far: no arithmetic.

        Roundings on the way move values of all tensors, and to neighbours mostly; other
        coefficients move most values of a tensor.
        """
        n_tensors = len(self._evidence.sampled)
        found = [each for each in pile if _has_few_off(self._bench.tally(each))]
        if 0 < len(found) <= max(1.0, _STRAY_TENSORS * n_tensors):
            yield self._changed(found)

    def _changed(self, found: Sequence[Sampled]) -> Finding:
        tallies = [self._bench.tally(each) for each in found]
        n_off = sum(each.n - each.n_equal for each in tallies)
        n = sum(each.n for each in tallies)
        detail = f"{n_off:,} of {n:,} values differ"
        return self._bench.finding(Verdict.CHANGED, found, detail)

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

        yield self._bench.finding(
            first.verdict,
            members,
            found.detail,
            silent=self._bench.silent(members, passing, row),
        )

    def _copies(
        self, pile: Sequence[Sampled], passing: Sequence[Sampled]
    ) -> Iterator[Finding]:
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
            members = _beyond_chance(members)
            if members:
                is_base = name == recipe.copy_from
                yield self._bench.finding(
                    Verdict.NOT_MERGED if is_base else Verdict.TAKEN,
                    members,
                    f"not merged, equal to {name}"
                    if is_base
                    else f"taken from {name} alone",
                    silent=self._bench.silent(members, passing, _only(name)),
                )


def _has_few_off(tally: Tally) -> bool:
    n_off = tally.n - tally.n_equal
    few = max(_STRAY_VALUES * tally.n, min(_STRAYS, _STRAYS_SHARE * tally.n))
    return not tally.is_near and n_off <= few


def _beyond_chance(pile: Sequence[Sampled]) -> list[Sampled]:
    """Return the tensors of cells in which enough values are equal.

    Of a few values all may be equal by chance, where the dtype is coarse.
    """
    counts: Counter[object] = Counter()
    for each in pile:
        counts[each.task.group.cell] += each.n_sampled
    return [each for each in pile if counts[each.task.group.cell] >= _PROVING]


def _only(name: str) -> Callable[[Task], Mapping[str, float]]:
    return lambda _: {name: 1.0}
