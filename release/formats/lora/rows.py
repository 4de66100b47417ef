"""Computing a change row by row, from the factors of its family.

A row is everything behind the first dimension. All that is rounded is computed element
by element in float64, in one order: products of matrices (`product`), then a core's or
a half's product with the other, then the multiplier, then once to F32.
"""

import math
from typing import Final, Protocol

import numpy as np

from release.formats.checkpoint import Checkpoint
from release.formats.lora.families import Family, WeightChange
from release.formats.lora.modules import Module
from release.formats.lora.product import ExactProduct, Factor
from release.formats.lora.roles import Role
from release.formats.lora.values import Float64Array, read_values
from release.formats.tensor import TensorEntry
from release.numeric.dtype import Dtype

_BITS: Final = {Dtype.F16: (11, -24), Dtype.BF16: (8, -133), Dtype.F32: (24, -149)}
"""Significant bits, and the exponent of which all values are multiples."""


class Rows(Protocol):
    """A matrix that is computed when it is asked for."""

    def rows(self, start: int, stop: int) -> Float64Array:
        """Return rows `start` to `stop` (excluded), two dimensions, fresh."""


class StoredRows:
    """A tensor as it stands in a file.

    Args:
        checkpoint: The file.
        entry: The tensor.
        n_columns: Elements of a row.
    """

    def __init__(
        self, checkpoint: Checkpoint, entry: TensorEntry, n_columns: int
    ) -> None:
        self._checkpoint = checkpoint
        self._entry = entry
        self._n_columns = n_columns

    def rows(self, start: int, stop: int) -> Float64Array:
        """Return rows; see `Rows`."""
        return read_values(
            self._checkpoint,
            self._entry,
            start=start * self._n_columns,
            count=(stop - start) * self._n_columns,
        ).reshape(stop - start, self._n_columns)


class DenseRows:
    """A matrix in memory."""

    def __init__(self, values: Float64Array) -> None:
        self._values = values

    def rows(self, start: int, stop: int) -> Float64Array:
        """Return rows; see `Rows`."""
        return self._values[start:stop].copy()


class HadamardRows:
    """The product of two matrices, element by element."""

    def __init__(self, first: Rows, second: Rows) -> None:
        self._first = first
        self._second = second

    def rows(self, start: int, stop: int) -> Float64Array:
        """Return rows; see `Rows`."""
        found = self._first.rows(start, stop)
        found *= self._second.rows(start, stop)
        return found


class KroneckerRows:
    """The Kronecker product of two matrices.

    Row i is row i // n of the first times row i % n of the second, each element of one
    with the whole of the other.

    Args:
        first: In memory.
        second: The other.
        n_rows: Rows of `second`.
    """

    def __init__(self, first: Float64Array, second: Rows, n_rows: int) -> None:
        self._first = first
        self._second = second
        self._n_rows = n_rows

    def rows(self, start: int, stop: int) -> Float64Array:
        """Return rows; see `Rows`."""
        n_rows = self._n_rows
        whole = self._second.rows(0, n_rows) if stop - start > 2 * n_rows else None
        pieces = []
        while start < stop:
            at, first = divmod(start, n_rows)
            end = min(stop, (at + 1) * n_rows)
            last = first + end - start
            part = (
                self._second.rows(first, last) if whole is None else whole[first:last]
            )
            pieces.append(self._first[at][:, np.newaxis] * part[:, np.newaxis])
            start = end
        found = np.concatenate(pieces) if len(pieces) > 1 else pieces[0]
        return found.reshape(found.shape[0], -1)


def rows_of(checkpoint: Checkpoint, change: WeightChange) -> Rows:
    """Return the rows of a change, without its multiplier; reads the factors.

    Args:
        checkpoint: The file.
        change: One of its modules.

    Raises:
        ValueRangeError: `not-finite`.
        InputError: The file changed or cannot be read.
    """
    factors = _Factors(checkpoint, change.module)
    match change.family:
        case Family.LORA:
            return factors.product(Role.UP, Role.DOWN, Role.MID, is_transposed=False)
        case Family.LOHA:
            return HadamardRows(
                factors.product(Role.HADA_W1_A, Role.HADA_W1_B, Role.HADA_T1),
                factors.product(Role.HADA_W2_A, Role.HADA_W2_B, Role.HADA_T2),
            )
        case Family.LOKR:
            return _kronecker(factors)
        case Family.FULL:
            return factors.stored(Role.DIFF)


def bias_rows(checkpoint: Checkpoint, module: Module) -> Rows:
    """Return the rows of a change of a bias; see `rows_of`."""
    return _Factors(checkpoint, module).stored(Role.DIFF_BIAS)


def _kronecker(factors: "_Factors") -> KroneckerRows:
    if factors.has(Role.LOKR_W1):
        first = factors.matrix(Role.LOKR_W1).values
    else:
        product = factors.product(Role.LOKR_W1_A, Role.LOKR_W1_B)
        first = product.rows(0, factors.shape(Role.LOKR_W1_A)[0])
    if factors.has(Role.LOKR_W2):
        n_rows = factors.shape(Role.LOKR_W2)[0]
        return KroneckerRows(first, factors.stored(Role.LOKR_W2), n_rows)
    n_rows = factors.shape(Role.LOKR_W2_A)[1 if factors.has(Role.LOKR_T2) else 0]
    second = factors.product(Role.LOKR_W2_A, Role.LOKR_W2_B, Role.LOKR_T2)
    return KroneckerRows(first, second, n_rows)


class _Factors:
    """The factors of one module, read when they are asked for."""

    def __init__(self, checkpoint: Checkpoint, module: Module) -> None:
        self._checkpoint = checkpoint
        self._tensors = module.tensors

    def has(self, role: Role) -> bool:
        return role in self._tensors

    def shape(self, role: Role) -> tuple[int, ...]:
        return self._tensors[role].shape

    def stored(self, role: Role) -> StoredRows:
        """Return a factor that is not read as a whole."""
        entry = self._tensors[role]
        return StoredRows(self._checkpoint, entry, math.prod(entry.shape[1:]))

    def matrix(self, role: Role) -> Factor:
        """Return a factor, its dimensions behind the first in one."""
        entry = self._tensors[role]
        values = read_values(self._checkpoint, entry)
        bits, lowest = _BITS[entry.dtype]
        return Factor(values.reshape(entry.shape[0], -1), bits, lowest)

    def product(
        self,
        left: Role,
        right: Role,
        core: Role | None = None,
        *,
        is_transposed: bool = True,
    ) -> ExactProduct:
        """Return the product of two factors, through a core if there is one.

        Args:
            left: The factor that has the rows.
            right: The factor that has the columns.
            core: `(rank, rank, kernel...)`, where the module has it.
            is_transposed: Whether `left` is `(rank, rows)` if there is a core.
        """
        if core is None or not self.has(core):
            return ExactProduct(self.matrix(left), self.matrix(right))
        first = self.matrix(left)
        if is_transposed:
            values = np.ascontiguousarray(first.values.T)
            first = Factor(values, first.bits, first.lowest)
        return ExactProduct(first, Factor(self._through_core(core, right)))

    def _through_core(self, core: Role, right: Role) -> Float64Array:
        """Return the sum over j of core[i, j, k] * right[j, c], as `(i, c * k)`."""
        rank, inner, *kernel = self.shape(core)
        found = self.matrix(core)
        turned = found.values.reshape(rank, inner, -1).transpose(0, 2, 1)
        left = Factor(turned.reshape(-1, inner), found.bits, found.lowest)
        n_rows = rank * math.prod(kernel)
        product = ExactProduct(left, self.matrix(right)).rows(0, n_rows)
        return np.ascontiguousarray(
            product.reshape(rank, math.prod(kernel), -1).transpose(0, 2, 1)
        ).reshape(rank, -1)
