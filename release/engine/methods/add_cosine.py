"""add_cosine: column by column, the less two models agree the more of b is taken.

A tensor is a matrix whose rows run over dim 0 and whose columns are all its other
dimensions; a column is what one input weighs for every output. With c the cosine of the
angle between a's column and b's,

    k = min(max(c - alpha, 0), 1)        result = k a + (1 - k) b

That is sd-mecha's `add_cosine_a`, which lets every tensor stand for itself. It comes
from cosineA of SuperMerger, whose c is the mean of the column's and the whole tensor's
cosine, stretched so that the 1st and 99th percentile over all tensors of the checkpoint
become 0 and 1; its results are others, and no recipe of it is this one.

A column that is all zeros in a or in b agrees with nothing: c is 0, b is taken. A 1-d
tensor is a single column; in a number, and in a tensor of one row, every element is a
column of its own, which agrees (c = 1, same sign) or opposes (c = -1).

Needs one reading before the first chunk, for three sums per column (none with a single
row, where an element says all there is).

Source:
    The method `add_cosine_a` of sd-mecha 1.1.8; calculation mode cosineA of
    hako-mikan/sd-webui-supermerger 0b1c491, scripts/mergers/mergers.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import torch
from torch import Tensor

from release.engine.methods.seam import NotFiniteError, Subject, Sweep
from release.engine.methods.sums import ColumnSums, column_pieces
from release.errors import RecipeError, visible

MAX_COLUMNS: Final = 2**20
"""Columns of the widest tensor: 24 MiB while they are measured."""


@dataclass(frozen=True, slots=True)
class ByColumn:
    """A sum of two models with a weight of the first for every column."""

    share: Tensor

    def apply(self, start: int, arguments: Sequence[Tensor], out: Tensor) -> None:
        """See `release.engine.methods.seam.Prepared`."""
        first, second = arguments
        _multiply(start, first, self.share)
        _multiply(start, second, 1.0 - self.share)
        torch.add(first, second, out=out)


@dataclass(frozen=True, slots=True)
class ByElement:
    """The same where every element is a column: its cosine is 1, 0 or -1."""

    alpha: Fraction

    def apply(self, start: int, arguments: Sequence[Tensor], out: Tensor) -> None:
        """See `release.engine.methods.seam.Prepared`."""
        del start
        first, second = arguments
        share = (first.sign() * second.sign()).clamp_(min=0.0)
        share.mul_(float(1 - self.alpha))
        first.mul_(share)
        second.mul_(1.0 - share)
        torch.add(first, second, out=out)


def prepare(subject: Subject, sweep: Sweep) -> ByColumn | ByElement:
    """Measure the columns' angles; see the module.

    Raises:
        RecipeError: Code "method-shape": more than `MAX_COLUMNS` columns.
        NotFiniteError: The sum of a model's squares is beyond float64.
    """
    alpha = subject.parameters["alpha"]
    rows = subject.shape[0] if subject.shape else 1
    if rows <= 1 or not subject.n_elements:
        return ByElement(alpha)
    columns = subject.n_elements // rows
    if columns > MAX_COLUMNS:
        raise RecipeError(
            f"add_cosine: {visible(subject.name)} has {columns:,} columns, expected at"
            f" most {MAX_COLUMNS:,}",
            code="method-shape",
            hint="merge its component with lerp, by only(...)",
        )
    cosine = _cosines(columns, sweep)
    return ByColumn(cosine.sub_(float(alpha)).clamp_(0.0, 1.0))


def _cosines(columns: int, sweep: Sweep) -> Tensor:
    sums = [ColumnSums(columns) for _ in range(3)]
    for start, (a, b) in sweep():
        for column_sums, product in zip(sums, (a * a, b * b, a.mul_(b)), strict=True):
            column_sums.add(start, product)
    lengths = [column_sums.totals.sqrt_() for column_sums in sums[:2]]
    for argument, length in enumerate(lengths):
        if not bool(torch.isfinite(length).all()):
            raise NotFiniteError(argument, None)
    cosine = sums[2].totals
    for length in lengths:
        cosine.div_(length.masked_fill_(length == 0.0, 1.0))
    return cosine.clamp_(-1.0, 1.0)


def _multiply(start: int, values: Tensor, factors: Tensor) -> None:
    """Multiply a flat chunk by the factor of each element's column, in place."""
    for column, piece in column_pieces(start, values, factors.numel()):
        piece.mul_(factors[column : column + piece.shape[1]])
