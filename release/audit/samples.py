"""The sample of every tensor: read, compared with the recipe, summed up."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from release.audit.fit import NOISE_PER_UNIT, Columns, Moments
from release.audit.groups import Group
from release.engine.jobs import Operand, TensorJob
from release.engine.parallel import run_all
from release.engine.sample import Run, Sampler
from release.formats.checkpoint import Checkpoint
from release.numeric.dtype import Dtype
from release.numeric.grid import Float64Array, grid_of, to_odd
from release.recipe.rows import Row

NEAR_SHARE: Final = 0.02
"""Share of F16 values that sums in another order or in float32 may move to a
neighbour: 1 % for the coefficients 0.8 and 0.5 of gamma rev1."""

_F16_BITS: Final = 10


@dataclass(frozen=True, slots=True)
class Task:
    """One tensor to look at.

    Attributes:
        job: What the recipe says of it; the operands of all ingredients at hand.
        operand: The tensor of the file, number 0 of the sampler's inputs being the
            first ingredient and the file the last.
        group: Where it belongs.
        runs: Which elements are read.
        declared: Its coefficients by ingredient or method, those of absent ones too;
            None without a recipe.
        row: The same as floats; None where no sum of the ingredients at hand is
            declared: a method, an absent ingredient, or no recipe at all.
    """

    job: TensorJob
    operand: Operand
    group: Group
    runs: tuple[Run, ...]
    declared: Row | None
    row: Mapping[str, float] | None

    @property
    def name(self) -> str:
        """The tensor's name."""
        return self.job.name

    @property
    def dtype(self) -> Dtype:
        """What the file stores it as."""
        return self.operand.entry.dtype

    @property
    def file_dtype(self) -> Dtype:
        """What files in between were stored as: the dtype of the ingredients."""
        found = self.job.operands[0].entry.dtype
        return Dtype.F16 if found.is_fp8 else found

    @property
    def may_be_cast(self) -> bool:
        """Whether the file may have been made from one of a finer dtype."""
        return (self.dtype.mantissa_bits or 0) < (self.file_dtype.mantissa_bits or 0)


@dataclass(frozen=True, slots=True)
class Values:
    """The elements that were read of one tensor.

    Attributes:
        x: (k, n) the ingredients, in the order of the columns; 0 for an absent one.
        stored: (n,) what the file stores, before scales.
        scales: (n,) what a consumer multiplies it by.
        dtype: Of the file.
    """

    x: Float64Array
    stored: Float64Array
    scales: Float64Array
    dtype: Dtype

    @property
    def y(self) -> Float64Array:
        """The file's values."""
        return self.stored * self.scales

    def sigma(self, columns: Columns) -> Float64Array:
        """Return the deviation of the rounding of every element.

        It is that of the greatest model, not of the file: what the noise is must not
        depend on the noise. The mean of the models would do for most elements, but
        where it is near 0 the result is not.
        """
        models = [name not in columns.loras for name in columns.names]
        level = np.abs(self.x[models]).max(axis=0) / self.scales
        return grid_of(self.dtype).spacing(level) * self.scales * NOISE_PER_UNIT

    def sum(self, row: Mapping[str, float], columns: Columns) -> Float64Array:
        """Return the row's sum, products and sums apart, in the columns' order."""
        total = np.zeros(self.stored.size)
        for at, name in enumerate(columns.names):
            value = row.get(name, 0.0)
            if value:
                total += self.x[at] * value
        return total

    def tally(self, expected: Float64Array) -> "Tally":
        """Count how the file compares with expected values, not yet rounded."""
        if bool((self.scales != 1.0).any()):
            single = to_odd(expected) / self.scales.astype(np.float32)
            expected = single.astype(np.float64)
        grid = grid_of(self.dtype)
        rounded = grid.round(expected)
        differs = rounded != self.stored
        if not differs.any():
            return Tally(self.stored.size, self.stored.size, 0)
        ours, theirs = rounded[differs], self.stored[differs]
        unit = grid.spacing(np.maximum(np.abs(ours), np.abs(theirs)))
        near = np.abs(ours - theirs) <= unit
        return Tally(
            self.stored.size, self.stored.size - ours.size, int(np.count_nonzero(near))
        )


@dataclass(frozen=True, slots=True)
class Tally:
    """How many elements are equal, how many neighbours, of how many."""

    n: int
    n_equal: int
    n_near: int

    @property
    def is_equal(self) -> bool:
        """Whether all are equal."""
        return self.n_equal == self.n

    @property
    def is_near(self) -> bool:
        """Whether none is farther off than a neighbour."""
        return self.n_equal + self.n_near == self.n

    def follows(self, dtype: Dtype) -> bool:
        """Whether all are equal but for what the order of sums explains."""
        return self.is_near and self.n_near <= near_share(dtype) * self.n


def near_share(dtype: Dtype) -> float:
    """Return the share of neighbours that the order of sums explains in a dtype.

    The coarser the dtype, the less often a change in float32's last bits shows.
    """
    bits = dtype.mantissa_bits or 0
    return min(1.0, float(NEAR_SHARE * 2.0 ** (bits - _F16_BITS)))


@dataclass(frozen=True, slots=True)
class Sampled:
    """What the sample of one tensor came to.

    Attributes:
        task: The tensor.
        tally: Against the declared row; None without one.
        cast: The same if the row was rounded to a finer dtype first, as when a variant
            is made from a file; None where that makes no difference.
        moments: For fits; None where a value is not finite or an ingredient lacks the
            tensor.
        is_zero: Whether all the file's values are 0.
        is_finite: Whether all of them are finite.
    """

    task: Task
    tally: Tally | None
    cast: Tally | None
    moments: Moments | None
    is_zero: bool
    is_finite: bool

    @property
    def n_sampled(self) -> int:
        """Elements that were read."""
        return sum(count for _, count in self.task.runs)


class Samples:
    """Reads samples, from any thread.

    Args:
        inputs: The ingredients in their order, then the file.
        columns: The ingredients, by number.
        advance: Called with bytes read; may raise to stop.
    """

    def __init__(
        self,
        inputs: Sequence[Checkpoint],
        columns: Columns,
        advance: Callable[[int], None],
    ) -> None:
        self.columns = columns
        self._inputs = inputs
        self._advance = advance
        self._local = threading.local()

    def read(self, task: Task) -> Values:
        """Return the sampled elements of a tensor."""
        sampler = self._sampler()
        n = sum(count for _, count in task.runs)
        x = np.zeros((len(self.columns.names), n))
        for operand in task.job.operands:
            x[operand.ingredient] = sampler.values(operand, task.runs)
        bare = Operand(task.operand.ingredient, task.operand.entry, 1.0)
        return Values(
            x,
            sampler.values(bare, task.runs),
            sampler.scales(task.operand, task.runs),
            task.dtype,
        )

    def survey(self, tasks: Sequence[Task], *, threads: int) -> list[Sampled]:
        """Return what the samples of all tensors come to, in their order.

        Raises:
            InputError: A file changed or cannot be read.
        """
        return run_all(self._look, tasks, threads=threads)

    def _look(self, task: Task) -> Sampled:
        values, columns = self.read(task), self.columns
        is_finite = bool(np.isfinite(values.stored).all())
        tally = cast = None
        if task.row is not None and is_finite:
            total = values.sum(task.row, columns)
            tally = values.tally(total)
            if task.may_be_cast and not tally.is_equal:
                cast = values.tally(grid_of(task.file_dtype).round(total))
        held = {operand.ingredient for operand in task.job.operands}
        lacks = any(
            at not in held and name not in columns.loras
            for at, name in enumerate(columns.names)
        )
        usable = is_finite and not lacks and bool(np.isfinite(values.x).all())
        moments = (
            Moments.of(
                values.x,
                values.y,
                values.sigma(columns),
                columns,
                mantissa_bits=task.dtype.mantissa_bits or 0,
            )
            if usable and values.stored.size
            else None
        )
        return Sampled(task, tally, cast, moments, not values.stored.any(), is_finite)

    def _sampler(self) -> Sampler:
        if not hasattr(self._local, "sampler"):
            self._local.sampler = Sampler(self._inputs, self._advance)
        sampler: Sampler = self._local.sampler
        return sampler
