"""What findings are made with: the evidence, a second look, and where things are."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from release.audit.fit import Coefficient
from release.audit.question import Evidence, Question
from release.audit.report import Finding
from release.audit.samples import Sampled, Tally, Task
from release.audit.states import names_of, tally_of
from release.audit.verdict import Verdict
from release.audit.wording import declared_text

_PROBED: Final = 200
"""Tensors beside a finding that are looked at again."""


class Bench:
    """Question and evidence, and how findings are put together.

    Attributes:
        question: What the file should be.
        evidence: What is known of its tensors.
        samples: To look again.
        columns: The ingredients.

    Args:
        question: See above.
        evidence: See above.
    """

    def __init__(self, question: Question, evidence: Evidence) -> None:
        self.question = question
        self.evidence = evidence
        self.samples = evidence.samples
        self.columns = evidence.samples.columns

    def tally(self, sampled: Sampled) -> Tally:
        """Return how a tensor compares, by all that is known."""
        return tally_of(sampled, self.evidence.counts) or Tally(0, 0, 0)

    def silent(
        self,
        pile: Sequence[Sampled],
        passing: Sequence[Sampled],
        row: Callable[[Task], Mapping[str, float]],
    ) -> frozenset[str]:
        """Return tensors beside some that another row would leave as they are."""
        names = names_of(pile)
        beside = self.evidence.places.beside(names)
        near = [each for each in passing if each.task.name in beside][:_PROBED]

        def is_silent(sampled: Sampled) -> bool:
            values = self.samples.read(sampled.task)
            return values.tally(values.sum(row(sampled.task), self.columns)).is_near

        return names_of([each for each in near if is_silent(each)])

    def finding(
        self,
        verdict: Verdict,
        pile: Sequence[Sampled],
        detail: str,
        *,
        found: tuple[Coefficient, ...] = (),
        rms: float | None = None,
        silent: frozenset[str] = frozenset(),
    ) -> Finding:
        """Return a finding on some tensors.

        Args:
            verdict: What it is.
            pile: The tensors.
            detail: What was found, one line.
            found: Coefficients.
            rms: What they leave.
            silent: Other tensors, which cannot tell.
        """
        names = names_of(pile)
        return Finding(
            verdict=verdict,
            places=self.evidence.places.text(names, silent),
            tensors=tuple(sorted(names)),
            detail=detail,
            declared=declared_text(pile),
            found=found,
            rms=rms,
        )
