"""Comparing two checkpoints, in whatever layouts and dtypes they are stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from release.architecture.contents import Part, part_of
from release.convert.source import Source
from release.engine.jobs import Operand
from release.engine.likeness import Likeness
from release.engine.parity import TensorPair, compare_pairs
from release.engine.plan import Ingredient, tensors_of
from release.formats.tensor import TensorEntry
from release.parity.report import (
    OtherShape,
    ParityReport,
    Side,
    Stored,
    TensorParity,
)
from release.parity.tolerance import Tolerances
from release.progress import Progress
from release.recipe.blocks import block_of

_Place = tuple[Part, str]


@dataclass(frozen=True, slots=True)
class ParityOptions:
    """What passes.

    Attributes:
        tolerances: Thresholds. A tensor of floats that has some passes if it meets all
            of them; any other passes if it is equal, or equal after rounding.
        ignores_missing: Whether what only one side has is no failure.
    """

    tolerances: Tolerances = field(default_factory=Tolerances)
    ignores_missing: bool = False


def compare(
    first: Source,
    second: Source,
    options: ParityOptions,
    *,
    threads: int,
    progress: Progress,
) -> ParityReport:
    """Compare two checkpoints; both are read once, in chunks.

    Args:
        first: A, the reference, open.
        second: B, open.
        options: What passes.
        threads: Worker threads, from 1; the report does not depend on it.
        progress: Told how far it is.

    Raises:
        InputError: A file changed meanwhile or cannot be read.
        ValueRangeError: `bad-scale`.
    """
    models = _Models(first, second)
    pairs = models.pairs()
    with progress.stage("compare", sum(pair.nbytes for pair in pairs)) as advance:
        found = compare_pairs(
            [source.checkpoint for source in models.sources],
            pairs,
            threads=threads,
            advance=advance,
        )
    for source in models.sources:
        source.checkpoint.check_unchanged()
    n_alike = len(models.alike)
    return ParityReport(
        sides=(_side(first), _side(second)),
        tensors=tuple(
            models.tensor(name, likeness, options.tolerances)
            for name, likeness in zip(models.alike, found[:n_alike], strict=True)
        ),
        other_shapes=models.other_shapes(),
        missing=models.missing(),
        markers=models.odd_markers(found[n_alike:]),
        tolerances=options.tolerances.texts,
        ignores_missing=options.ignores_missing,
    )


def _side(source: Source) -> Side:
    checkpoint = source.checkpoint
    return Side(
        path=checkpoint.path,
        container=checkpoint.container,
        n_tensors=len(checkpoint.tensors),
        nbytes=checkpoint.nbytes,
    )


class _Models:
    """Both checkpoints, and what their names and shapes say.

    Attributes:
        sources: A and B.
        alike: Names of the tensors that both have in the same shape.
    """

    def __init__(self, first: Source, second: Source) -> None:
        self.sources = (first, second)
        self._weights = (_weights(first), _weights(second))
        before, after = self._weights
        self._common = [name for name in before if name in after]
        self.alike = [n for n in self._common if before[n].shape == after[n].shape]
        self._markers = [
            name
            for name in sorted(first.layout.auxiliary & second.layout.auxiliary)
            if _form(first, name) == _form(second, name)
        ]

    def pairs(self) -> list[TensorPair]:
        """Return what is to be read: the tensors alike, then scales and markers."""
        return [
            TensorPair(name, (self._operand(0, name), self._operand(1, name)))
            for name in (*self.alike, *self._markers)
        ]

    def tensor(
        self, name: str, likeness: Likeness, tolerances: Tolerances
    ) -> TensorParity:
        """Return what is known of one of `alike`."""
        part, block = self._place(name)
        return TensorParity(
            name=name,
            part=part,
            block=block,
            stored=(self._stored(0, name), self._stored(1, name)),
            likeness=likeness,
            misses=tolerances.misses(part, likeness),
        )

    def other_shapes(self) -> tuple[OtherShape, ...]:
        """Return what both have in different shapes."""
        before, after = self._weights
        return tuple(
            OtherShape(
                name, *self._place(name), (before[name].shape, after[name].shape)
            )
            for name in self._common
            if before[name].shape != after[name].shape
        )

    def missing(self) -> tuple[dict[str, _Place], dict[str, _Place]]:
        """Return what only A has, and what only B has."""
        before, after = self._weights
        return (
            {name: self._place(name) for name in before if name not in after},
            {name: self._place(name) for name in after if name not in before},
        )

    def odd_markers(self, found: Sequence[Likeness]) -> tuple[str, ...]:
        """Return the scales and markers that are not the same in both.

        Args:
            found: Of those that both have in the same form.
        """
        equal = {
            name
            for name, likeness in zip(self._markers, found, strict=True)
            if likeness.is_equal
        }
        first, second = self.sources
        return tuple(sorted((first.layout.auxiliary | second.layout.auxiliary) - equal))

    def _operand(self, number: int, name: str) -> Operand:
        source = self.sources[number]
        entry = self._weights[number].get(name) or source.checkpoint.tensors[name]
        return Operand(number, entry, 0.0, source.layout.scales.get(name))

    def _stored(self, number: int, name: str) -> Stored:
        is_scaled = name in self.sources[number].layout.scales
        return Stored(self._weights[number][name].dtype.code, is_scaled)

    def _place(self, name: str) -> _Place:
        part = part_of(name)
        return part, block_of(name, part, self.sources[0].architecture)


def _weights(source: Source) -> Mapping[str, TensorEntry]:
    """Return all tensors but scales and markers, fp8 in bytes as fp8."""
    return tensors_of(Ingredient("", source.checkpoint, source.layout))


def _form(source: Source, name: str) -> tuple[str, tuple[int, ...]]:
    entry = source.checkpoint.tensors[name]
    return entry.dtype.code, entry.shape
