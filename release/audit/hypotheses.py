"""What may have been done in the place of a recipe: near recipes, by name."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Final

from release.audit.rewrite import (
    Change,
    inverted,
    rewritten,
    shifted,
    subtracted_names,
    turned_round,
    without_blocks,
    without_subtrahend,
)
from release.audit.samples import Sampled, Samples, Task, Values
from release.audit.verdict import Verdict
from release.errors import RecipeError
from release.numeric.grid import grid_of
from release.recipe.conventions import CONVENTIONS
from release.recipe.fold import fold
from release.recipe.rows import FoldedRecipe, Row
from release.recipe.text import RecipeText

_EXPLAINED_MIN: Final = 0.9
"""Share of the tensors that do not follow the recipe which another must explain."""
_PROBED: Final = 160
"""Tensors that a recipe is tried on before it is on all."""

_CHANGES: Final[tuple[tuple[str, Change], ...]] = (
    ("the list of block weights begins one block late", shifted(1)),
    ("the list of block weights begins one block early", shifted(-1)),
    ("the block merge was left out", without_blocks),
    ("the weights are inverted, w for 1 - w", inverted),
)


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """Another recipe that may have been followed.

    Attributes:
        verdict: What it would be.
        sentence: What was done then, as a clause; of a convention, its name.
        recipe: Its rows.
        swap: Two ingredients that stand for each other.
    """

    verdict: Verdict
    sentence: str
    recipe: FoldedRecipe
    swap: tuple[str, str] | None = None

    def row(self, task: Task) -> Row:
        """Return the coefficients of a tensor."""
        row = self.recipe.row(task.name)
        if self.swap is None:
            return row
        one, other = self.swap
        names = {one: other, other: one}
        return {names.get(name, name): value for name, value in row.items()}


@dataclass(frozen=True, slots=True)
class Explained:
    """Hypotheses of equal effect that fit, and the tensors they explain."""

    hypotheses: tuple[Hypothesis, ...]
    names: frozenset[str]

    @property
    def detail(self) -> str:
        """What was done, one line; what cannot be told apart is joined by "or"."""
        sentences = " or ".join(each.sentence for each in self.hypotheses)
        if self.hypotheses[0].verdict is Verdict.CONVENTION:
            return f"block weights by the convention {sentences}"
        return sentences


def hypotheses(recipe: FoldedRecipe, text: RecipeText | None) -> Iterator[Hypothesis]:
    """Yield what may have been done, the likely first.

    Args:
        recipe: What is declared.
        text: The same as it was written, if it is known; most need it.
    """
    if text is not None:
        for name in CONVENTIONS:
            if name != text.convention:
                other = replace(text, convention=name)
                yield from _of(Verdict.CONVENTION, name, other, recipe)
        for sentence, change in _changes(text):
            try:
                other = rewritten(text, change)
            except RecipeError:
                continue
            yield from _of(Verdict.MISTAKE, sentence, other, recipe)
    models = [name for name in recipe.ingredients if name not in recipe.loras]
    for one, other_name in combinations(models, 2):
        yield Hypothesis(
            Verdict.MISTAKE,
            f"{one} and {other_name} are swapped",
            recipe,
            (one, other_name),
        )


def _changes(text: RecipeText) -> Iterator[tuple[str, Change]]:
    yield from _CHANGES
    names = subtracted_names(text)
    for name in names:
        yield (
            f"{name} was not subtracted: a + b for a + (b - c)",
            without_subtrahend({name}),
        )
        yield f"the difference from {name} is the wrong way round", turned_round(name)
    if len(names) > 1:
        yield "nothing was subtracted: a + b for a + (b - c)", without_subtrahend(names)


def _of(
    verdict: Verdict, sentence: str, text: RecipeText, declared: FoldedRecipe
) -> Iterator[Hypothesis]:
    """Yield a near recipe, unless it cannot be or is the same."""
    try:
        found = fold(replace(text, copy_from=declared.copy_from))
    except RecipeError:
        return
    if not found.methods and found.canonical() != declared.canonical():
        yield Hypothesis(verdict, sentence, found)


def find_explanation(
    candidates: Iterator[Hypothesis],
    failing: Sequence[Sampled],
    passing: Sequence[Sampled],
    samples: Samples,
) -> Explained | None:
    """Return the hypotheses that explain most of what does not follow the recipe.

    One explains a tensor whose sample equals what it gives; it must not be against any
    tensor that follows the recipe.
    """
    probe = _Probe(samples)
    step = -(-len(failing) // _PROBED)
    some = failing[::step]
    best: list[Hypothesis] = []
    most = _EXPLAINED_MIN * len(some)
    for candidate in candidates:
        n_explained = sum(probe.follows(candidate, each) for each in some)
        if n_explained < most or not _agrees(candidate, passing, probe):
            continue
        best = [*best, candidate] if n_explained == most else [candidate]
        most = n_explained
    if not best or most == 0:
        return None
    names = frozenset(
        each.task.name for each in failing if probe.follows(best[0], each)
    )
    alike = tuple(each for each in best if each.verdict is best[0].verdict)
    return Explained(alike, names)


def _agrees(candidate: Hypothesis, passing: Sequence[Sampled], probe: "_Probe") -> bool:
    """Whether a hypothesis is not against tensors that follow the recipe."""
    moved = [
        each
        for each in passing
        if each.task.row is not None
        and _floats(candidate.row(each.task)) != _used(each.task.row)
    ]
    step = max(1, len(moved) // _PROBED)
    return all(probe.follows(candidate, each) for each in moved[::step])


class _Probe:
    """Tries rows on samples; a sample is read once for all that are tried in turn."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self._values: dict[str, Values] = {}
        self._known: dict[tuple[str, tuple[tuple[str, float], ...]], bool] = {}

    def follows(self, candidate: Hypothesis, sampled: Sampled) -> bool:
        task = sampled.task
        row = _floats(candidate.row(task))
        key = (task.name, tuple(sorted(row.items())))
        if key not in self._known:
            self._known[key] = sampled.is_finite and self._follows(row, task)
        return self._known[key]

    def _follows(self, row: Mapping[str, float], task: Task) -> bool:
        values = self._read(task)
        columns = self._samples.columns
        if any(name not in columns.names for name in row):
            return False
        total = values.sum(row, columns)
        if values.tally(total).follows(task.dtype):
            return True
        rounded = grid_of(task.file_dtype).round(total)
        return task.may_be_cast and values.tally(rounded).is_equal

    def _read(self, task: Task) -> Values:
        if task.name not in self._values:
            if len(self._values) >= 2 * _PROBED:
                self._values.clear()
            self._values[task.name] = self._samples.read(task)
        return self._values[task.name]


def _floats(row: Row) -> dict[str, float]:
    return {name: float(value) for name, value in row.items()}


def _used(row: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if value}
