"""Least squares for the coefficients of a merge, with their errors.

For each element, y = c1*x1 + c2*x2 + ... + rounding; the rounding of a value is spread
evenly over one unit in the last place, so its deviation is that unit / sqrt(12), which
is what every element is weighted by. Sums over elements are all that is kept of a
tensor, so tensors are pooled by adding them.

Checkpoints of one family share most of their values. So the unknowns are the sum of
the coefficients, which multiplies the first model, and one coefficient for the
difference of each other model from it: columns that are hardly alike, and 0 where
models are equal.

Source:
    Ordinary weighted least squares; B. Widrow, I. Kollar, "Quantization Noise", 2008,
    for the noise of rounding.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from release.numeric.grid import Float64Array

NOISE_PER_UNIT: Final = 1 / math.sqrt(12)
"""Standard deviation of rounding, in units in the last place."""

_RANK_TOLERANCE: Final = 1e-10
_NULL_COMPONENT: Final = 1e-5
_FLOOR_BITS: Final = 7
_SIGMAS: Final = 6.0
"""Deviations from which on a difference is taken to be real."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The ingredients whose coefficients are asked for, in the order of summation.

    `loras` are those that are differences already. At least one is a model.
    """

    names: tuple[str, ...]
    loras: frozenset[str]

    @property
    def reference(self) -> int:
        """Number of the first model."""
        return next(i for i, name in enumerate(self.names) if name not in self.loras)

    def vector(self, row: Mapping[str, float]) -> Float64Array:
        """Return a row of coefficients in this order."""
        return np.array([float(row.get(name, 0.0)) for name in self.names])


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over elements, all that a fit needs; additive.

    Attributes:
        gram: (k, k) products of the columns, first model and differences.
        cross: (k,) their products with the result.
        square: The sum of the squared result.
        n: Number of elements.
        floor: What coefficients may be off beyond their standard error, because
            roundings of one dtype are not quite independent of the values.
        same: (k, k) which ingredients hold the same values in all elements; a LoRA is
            the same as itself only where it says something.
    """

    gram: Float64Array
    cross: Float64Array
    square: float
    n: int
    floor: float
    same: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        x: Float64Array,
        y: Float64Array,
        sigma: Float64Array,
        columns: Columns,
        *,
        mantissa_bits: int,
    ) -> "Moments":
        """Return the moments of some elements.

        Args:
            x: (k, n) the ingredients, in the order of `columns`.
            y: (n,) the result.
            sigma: (n,) deviation of each element's rounding, positive.
            columns: What `x` is.
            mantissa_bits: Of the dtype of the result.
        """
        weighted = _based(x, columns) / sigma
        target = y / sigma
        return cls(
            gram=weighted @ weighted.T,
            cross=weighted @ target,
            square=float(target @ target),
            n=y.size,
            floor=2.0 ** -(mantissa_bits + _FLOOR_BITS),
            same=_same(x, columns),
        )

    @classmethod
    def total(cls, parts: Iterable["Moments"]) -> "Moments":
        """Return the sum of at least one."""
        first, *rest = parts
        gram, cross = first.gram.copy(), first.cross.copy()
        square, n, same = first.square, first.n, first.same.copy()
        floor = first.floor
        speaks = np.diag(same).copy()
        for part in rest:
            gram += part.gram
            cross += part.cross
            square += part.square
            n += part.n
            floor = max(floor, part.floor)
            same &= part.same
            speaks |= np.diag(part.same)
        np.fill_diagonal(same, speaks)
        return cls(gram, cross, square, n, floor, same)

    def misfit(self, row: Float64Array, columns: Columns) -> float:
        """Return the sum of squared residuals of given coefficients, in deviations."""
        return self.misfit_of(_parameters(row, columns))

    def misfit_of(self, parameters: Float64Array) -> float:
        """Return the same for parameters of a fit."""
        found = self.square - 2 * parameters @ self.cross
        return max(0.0, float(found + parameters @ self.gram @ parameters))


@dataclass(frozen=True, slots=True)
class Coefficient:
    """One coefficient that was found.

    Attributes:
        names: The ingredient; several that hold the same values, whose coefficients
            only add up.
        value: Of the sum of these; None where the data do not determine it.
        error: Its standard error; None with `value`.
    """

    names: tuple[str, ...]
    value: float | None
    error: float | None

    def is_off(self, declared: float) -> bool:
        """Whether it is farther from a declared one than errors explain."""
        if self.value is None or self.error is None:
            return False
        return abs(self.value - declared) > _SIGMAS * self.error


@dataclass(frozen=True, slots=True)
class Fit:
    """What least squares found.

    Attributes:
        coefficients: In the order of the columns.
        parameters: The unknowns solved for, see `Moments`.
        misfit: Sum of squared residuals, in deviations of rounding.
        freedom: Elements beyond the number of unknowns.
    """

    coefficients: tuple[Coefficient, ...]
    parameters: Float64Array
    misfit: float
    freedom: int

    @property
    def ratio(self) -> float:
        """Mean squared residual against rounding alone: 1 if it explains all."""
        return self.misfit / self.freedom if self.freedom > 0 else math.inf

    @property
    def n_unknowns(self) -> int:
        """Coefficients that were solved for."""
        return len(self.coefficients)

    def agrees(
        self, row: Mapping[str, float], moments: Moments, columns: Columns
    ) -> bool:
        """Whether given coefficients leave hardly more than the best ones do."""
        if self.is_determined and not any(
            each.is_off(sum(row.get(name, 0.0) for name in each.names))
            for each in self.coefficients
        ):
            return True
        excess = moments.misfit(columns.vector(row), columns) - self.misfit
        allowed = _SIGMAS**2 + 4 * self.n_unknowns
        return excess <= allowed * max(1.0, self.ratio)

    @property
    def is_determined(self) -> bool:
        """Whether every coefficient was found, alone or as part of a sum."""
        return all(each.value is not None for each in self.coefficients)


def solve(moments: Moments, columns: Columns) -> Fit:
    """Return the coefficients that fit best, and how well.

    Ingredients that hold the same values get one coefficient; what the data leave open
    gets none.
    """
    classes = classes_of(moments, columns)
    kept = _kept(classes, columns)
    gram, cross = moments.gram[np.ix_(kept, kept)], moments.cross[kept]
    size = np.sqrt(np.where(np.diag(gram) > 0, np.diag(gram), 1.0))
    values, vectors = np.linalg.eigh(gram / np.outer(size, size))
    is_null = values <= _RANK_TOLERANCE * max(1.0, float(values.max(initial=0.0)))
    inverse = np.where(is_null, 0.0, 1.0 / np.where(is_null, 1.0, values))
    covariance = (vectors * inverse) @ vectors.T / np.outer(size, size)
    parameters = np.zeros(len(columns.names))
    parameters[kept] = covariance @ cross
    misfit = moments.misfit_of(parameters)
    freedom = moments.n - len(kept) + int(is_null.sum())
    spread = covariance * max(1.0, misfit / freedom if freedom > 0 else 1.0)
    null = vectors[:, is_null] / size[:, None]
    solved = _Solved(kept, parameters[kept], spread, null)
    coefficients = tuple(
        _coefficient(cls, solved, moments.floor, columns) for cls in classes
    )
    return Fit(coefficients, parameters, misfit, freedom)


def classes_of(moments: Moments, columns: Columns) -> list[tuple[int, ...]]:
    """Return the ingredients by their values: equal ones together, silent LoRAs not."""
    classes: list[tuple[int, ...]] = []
    seen: set[int] = set()
    for at in range(len(columns.names)):
        if at in seen or not moments.same[at, at]:
            continue
        found = tuple(int(other) for other in np.flatnonzero(moments.same[at]))
        seen.update(found)
        classes.append(found)
    return classes


def _based(x: Float64Array, columns: Columns) -> Float64Array:
    """Return the first model as it is, other models as differences from it."""
    based = x.copy()
    for at, name in enumerate(columns.names):
        if name not in columns.loras and at != columns.reference:
            based[at] -= x[columns.reference]
    return based


def _parameters(row: Float64Array, columns: Columns) -> Float64Array:
    """Return coefficients as the unknowns of `_based`: the first becomes the sum."""
    found = row.copy()
    found[columns.reference] = sum(
        value
        for name, value in zip(columns.names, row, strict=True)
        if name not in columns.loras
    )
    return found


def _same(x: Float64Array, columns: Columns) -> NDArray[np.bool_]:
    count = len(columns.names)
    same = np.eye(count, dtype=bool)
    for one in range(count):
        if columns.names[one] in columns.loras:
            same[one, one] = bool(x[one].any())
            continue
        for other in range(one):
            if columns.names[other] not in columns.loras:
                same[one, other] = same[other, one] = np.array_equal(x[one], x[other])
    return same


def _kept(classes: Iterable[tuple[int, ...]], columns: Columns) -> list[int]:
    """Return the first of every class; the reference stands for its own."""
    return [
        columns.reference if columns.reference in cls else cls[0] for cls in classes
    ]


@dataclass(frozen=True, slots=True)
class _Solved:
    """The unknowns that were solved for, their covariance, and what is left open."""

    kept: list[int]
    parameters: Float64Array
    covariance: Float64Array
    null: Float64Array


def _coefficient(
    cls: tuple[int, ...], solved: _Solved, floor: float, columns: Columns
) -> Coefficient:
    kept, null = solved.kept, solved.null
    weights = np.zeros(len(kept))
    if columns.reference in cls:
        # The sum of all, less those of the others.
        for at, number in enumerate(kept):
            if columns.names[number] not in columns.loras:
                weights[at] = -1.0
        weights[kept.index(columns.reference)] = 1.0
    else:
        weights[kept.index(cls[0])] = 1.0
    names = tuple(columns.names[at] for at in cls)
    scale = np.abs(weights).max() * max(1e-300, float(np.abs(null).max(initial=0.0)))
    if null.size and float(np.abs(weights @ null).max()) > _NULL_COMPONENT * scale:
        return Coefficient(names, None, None)
    variance = max(0.0, float(weights @ solved.covariance @ weights))
    error = math.hypot(math.sqrt(variance), floor)
    return Coefficient(names, float(weights @ solved.parameters), error)
