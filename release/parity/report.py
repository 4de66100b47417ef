"""What a comparison of two checkpoints found."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from release.architecture.contents import Part
from release.engine.likeness import Likeness


class Verdict(Enum):
    """How two tensors relate; a relation is named by the first that holds."""

    EQUAL = "equal"
    SAME_VALUES = "same values"
    B_ROUNDED = "B is A rounded"
    A_ROUNDED = "A is B rounded"
    DIFFERS = "differs"


class Outcome(Enum):
    """How two checkpoints relate."""

    IDENTICAL = "identical"
    SAME_VALUES = "same values"
    B_ROUNDED = "B is A rounded"
    A_ROUNDED = "A is B rounded"
    ROUNDED = "rounded"
    WITHIN = "within tolerance"
    DIFFERS = "differs"


@dataclass(frozen=True, slots=True)
class Stored:
    """How a tensor is stored: its dtype's code, and whether it has a scale."""

    dtype: str
    is_scaled: bool

    @property
    def text(self) -> str:
        """Both in a few characters."""
        return f"{self.dtype} scaled" if self.is_scaled else self.dtype


@dataclass(frozen=True, slots=True)
class TensorParity:
    """One tensor of both checkpoints.

    Attributes:
        name: In the single-file layout.
        part: Of the model.
        block: Of the part.
        stored: In A and in B.
        likeness: What was measured.
        misses: Why it does not pass, one reason each; none if it does.
    """

    name: str
    part: Part
    block: str
    stored: tuple[Stored, Stored]
    likeness: Likeness
    misses: tuple[str, ...]

    @property
    def storage(self) -> str:
        """How both are stored, such as "F16 / F8_E4M3"; once if alike."""
        first, second = (stored.text for stored in self.stored)
        return first if first == second else f"{first} / {second}"

    @property
    def verdict(self) -> Verdict:
        """How the two relate."""
        found = self.likeness
        if found.is_equal:
            return Verdict.EQUAL
        if found.has_same_values:
            return Verdict.SAME_VALUES
        if found.is_b_rounded:
            return Verdict.B_ROUNDED
        return Verdict.A_ROUNDED if found.is_a_rounded else Verdict.DIFFERS


@dataclass(frozen=True, slots=True)
class Group:
    """Some tensors together.

    Attributes:
        counts: Verdict -> number of tensors.
        n_failed: Tensors that do not pass.
        differing: How they are stored -> figures of the tensors whose values differ.
            Each dtype stands for itself, and equal tensors are left out: what a finer
            cast adds to a signal would hide what a coarse one lost.
    """

    counts: Mapping[Verdict, int]
    n_failed: int
    differing: Mapping[str, Likeness]

    @classmethod
    def of(cls, tensors: Iterable[TensorParity]) -> "Group":
        """Return what is known of some tensors together."""
        known = list(tensors)
        differing: dict[str, list[Likeness]] = {}
        for each in known:
            if not each.likeness.has_same_values:
                differing.setdefault(each.storage, []).append(each.likeness)
        return cls(
            counts=Counter(each.verdict for each in known),
            n_failed=sum(bool(each.misses) for each in known),
            differing={
                storage: Likeness.total(differing[storage])
                for storage in sorted(differing)
            },
        )

    @property
    def snr(self) -> float | None:
        """Lowest SNR of the tensors that differ; None if none has one."""
        found = (each.snr for each in self.differing.values() if each.is_measured)
        return min(found, default=None)

    @property
    def n_tensors(self) -> int:
        """Number of tensors."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two checkpoints."""

    path: Path
    container: str
    n_tensors: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class OtherShape:
    """A tensor that has another shape in B."""

    name: str
    part: Part
    block: str
    shapes: tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class ParityReport:
    """What a comparison found.

    Attributes:
        sides: A and B.
        tensors: What both have in the same shape, in the order of A's data.
        other_shapes: What both have in different shapes.
        missing: What B lacks, and what A lacks: names with their part and block.
        markers: Scales and markers that are not the same bits in both, by name.
        tolerances: Thresholds, as on the command line.
        ignores_missing: Whether what only one side has is no failure.
    """

    sides: tuple[Side, Side]
    tensors: tuple[TensorParity, ...]
    other_shapes: tuple[OtherShape, ...]
    missing: tuple[Mapping[str, tuple[Part, str]], Mapping[str, tuple[Part, str]]]
    markers: tuple[str, ...]
    tolerances: tuple[str, ...]
    ignores_missing: bool

    @property
    def failed(self) -> tuple[TensorParity, ...]:
        """The tensors that do not pass, worst first."""
        return tuple(each for each in self.by_likeness if each.misses)

    @property
    def is_rounded_apart(self) -> bool:
        """Whether files of two dtypes differ by a step of the coarser one at most.

        Each may then be one exact result, rounded once on its own.
        """
        return (
            self.outcome is Outcome.DIFFERS
            and bool(self.failed)
            and not self.other_shapes
            and not (self.n_missing and not self.ignores_missing)
            and all(_is_a_step_off(each) for each in self.failed)
        )

    @property
    def by_likeness(self) -> tuple[TensorParity, ...]:
        """The tensors whose values differ: failed ones first, then the lowest SNR."""
        differing = (each for each in self.tensors if each.likeness.n_differing)
        return tuple(sorted(differing, key=_badness))

    @property
    def by_part(self) -> dict[Part, Group]:
        """What is known of each part, in the order of `Part`."""
        members: dict[Part, list[TensorParity]] = {part: [] for part in Part}
        for tensor in self.tensors:
            members[tensor.part].append(tensor)
        return {part: Group.of(each) for part, each in members.items() if each}

    @property
    def total(self) -> Group:
        """All tensors together."""
        return Group.of(self.tensors)

    @property
    def n_missing(self) -> int:
        """Tensors that only one side has."""
        return sum(map(len, self.missing))

    @property
    def outcome(self) -> Outcome:
        """How the two checkpoints relate."""
        lacks = self.n_missing and not self.ignores_missing
        if self.failed or self.other_shapes or lacks or not self.tensors:
            return Outcome.DIFFERS
        verdicts = {each.verdict for each in self.tensors}
        rounded = verdicts - {Verdict.EQUAL, Verdict.SAME_VALUES}
        if Verdict.DIFFERS in rounded:
            return Outcome.WITHIN
        if len(rounded) == 1:
            return Outcome(rounded.pop().value)
        if rounded:
            return Outcome.ROUNDED
        is_same = verdicts == {Verdict.EQUAL} and not self.markers
        return (
            Outcome.IDENTICAL if is_same and not self.n_missing else Outcome.SAME_VALUES
        )


def _is_a_step_off(tensor: TensorParity) -> bool:
    found, (first, second) = tensor.likeness, tensor.stored
    return (
        first.dtype != second.dtype
        and found.is_measured
        and not found.n_not_finite
        and found.max_ulp is not None
        and found.max_ulp <= 1
    )


def _badness(tensor: TensorParity) -> tuple[bool, float, int, str]:
    likeness = tensor.likeness
    # What is no number, or none on one side only, has no SNR and is worst of all.
    is_measured = likeness.is_measured and not likeness.n_not_finite
    snr = likeness.snr if is_measured else float("-inf")
    return not tensor.misses, snr, -likeness.n_differing, tensor.name
