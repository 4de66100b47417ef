"""Recipes computed as other programs compute them: with roundings on the way.

Source:
    hako-mikan/sd-webui-supermerger 0b1c491 (differences and sums in the dtype of the
    file, blends in float32); lllyasviel/stable-diffusion-webui-forge dfdcbab,
    `modules/extras.py` (every operation in the dtype of the file).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from release.audit.verdict import Verdict
from release.numeric.grid import Float64Array, Grid
from release.recipe.cells import Cell
from release.recipe.conventions import Convention
from release.recipe.graph import read_graph
from release.recipe.text import RecipeText
from release.recipe.tree import (
    BlockMerge,
    Expression,
    Lerp,
    Lora,
    MethodCall,
    Name,
    Negation,
    Number,
    Only,
    Product,
    Sum,
)

Round = Callable[[Float64Array], Float64Array]
_Value = Float64Array | float


def _same(values: Float64Array) -> Float64Array:
    return values


def _single(values: Float64Array) -> Float64Array:
    return values.astype(np.float32).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Where a program rounds.

    Attributes:
        verdict: What it is.
        sentence: The same as a clause.
        operation: After each product and each sum; "file" for the dtype of files,
            "single" for float32, "" for nowhere.
        number: The weights themselves.
        in_blend: The same inside a blend of two models.
        blend: After a blend of two models.
        term: After each term that is added to a model.
        step: After each step.
    """

    verdict: Verdict
    sentence: str
    operation: str = ""
    number: str = ""
    in_blend: str = ""
    blend: str = ""
    term: str = ""
    step: str = ""


ARITHMETICS: Final = (
    Arithmetic(
        Verdict.ROUNDING_ORDER,
        "sums in float32",
        operation="single",
        in_blend="single",
        blend="single",
        term="single",
        step="single",
    ),
    Arithmetic(
        Verdict.INTERMEDIATE, "every step was saved and read again", step="file"
    ),
    Arithmetic(
        Verdict.INTERMEDIATE,
        "every difference was added to a file of its own",
        blend="file",
        term="file",
        step="file",
    ),
    Arithmetic(
        Verdict.ARITHMETIC,
        "every operation was rounded to the dtype of the file",
        operation="file",
        in_blend="file",
        blend="file",
        term="file",
        step="file",
    ),
    Arithmetic(
        Verdict.ARITHMETIC,
        "every operation and every weight was rounded to the dtype of the file",
        operation="file",
        number="file",
        in_blend="file",
        blend="file",
        term="file",
        step="file",
    ),
    Arithmetic(
        Verdict.ARITHMETIC,
        "differences and sums were rounded to the dtype of the file, blends were not",
        operation="file",
        term="file",
        blend="file",
        step="file",
    ),
)


class Calculator:
    """Computes a recipe on some elements of one tensor.

    Args:
        recipe: As it was written, without methods.
        convention: Its block weights are by this one.
        grid: Values that the dtype of files can hold.
    """

    def __init__(self, recipe: RecipeText, convention: Convention, grid: Grid) -> None:
        self._recipe = recipe
        self._steps = read_graph(recipe).steps
        self._convention = convention
        self._rounds: Mapping[str, Round] = {
            "": _same,
            "single": _single,
            "file": grid.round,
        }

    def compute(
        self, arithmetic: Arithmetic, models: Mapping[str, Float64Array], cell: Cell
    ) -> Float64Array:
        """Return the result, not yet rounded to what the file stores.

        Args:
            arithmetic: Where to round.
            models: The ingredients, flat; all that the recipe names.
            cell: Of the tensor.

        Raises:
            ValueError: The recipe has a method.
        """
        known = dict(models)
        masses: dict[str, _Value] = dict.fromkeys(models, 1.0)
        exact = Arithmetic(arithmetic.verdict, "")
        place = (self._rounds, self._convention, cell)
        for step in self._steps:
            mass = _Run(exact, masses, None, *place).value(step.tree)
            value = _Run(arithmetic, known, masses, *place).value(step.tree)
            masses[step.name] = mass
            known[step.name] = self._rounds[arithmetic.step](np.asarray(value))
        return known[self._recipe.output]


@dataclass(frozen=True, slots=True)
class _Run:
    """One evaluation of a step.

    `masses` say how much of a model each name is: 1 for a model, 0 for a difference;
    None while these are computed.
    """

    arithmetic: Arithmetic
    models: Mapping[str, _Value]
    masses: Mapping[str, _Value] | None
    rounds: Mapping[str, Round]
    convention: Convention
    cell: Cell

    def value(self, tree: Expression) -> _Value:
        result: _Value
        match tree:
            case Number(number):
                result = self._weight(float(number))
            case Name(name) | Lora(name):
                result = self.models[name]
            case Negation(operand):
                result = -self.value(operand)
            case Sum(terms):
                result = self._sum(terms)
            case Product(factors):
                result = self._product(factors)
            case Lerp(a, b, t):
                result = self._blend(a, b, float(self.value(t)))
            case BlockMerge(base, other, weights):
                result = self._blend(base, other, float(weights.of(self.cell)))
            case Only(operand, targets):
                names = (target.name for target in targets)
                covers = any(self.convention.is_in(self.cell, name) for name in names)
                result = self.value(operand) * float(covers)
            case MethodCall():
                raise ValueError("a method has no arithmetic of its own")
        return result

    def _sum(self, terms: tuple[Expression, ...]) -> _Value:
        total = self.value(terms[0])
        is_model = self._mass(terms[0]) != 0
        for term in terms[1:]:
            total = self._round(total + self.value(term), "operation")
            is_last_of_model = is_model and self._mass(term) == 0
            total = self._round(total, "term") if is_last_of_model else total
        return total

    def _mass(self, tree: Expression) -> float:
        if self.masses is None:
            return 0.0
        exact = Arithmetic(self.arithmetic.verdict, "")
        place = (self.rounds, self.convention, self.cell)
        return float(_Run(exact, self.masses, None, *place).value(tree))

    def _product(self, factors: tuple[Expression, ...]) -> _Value:
        total = self.value(factors[0])
        for factor in factors[1:]:
            total = self._round(total * self.value(factor), "operation")
        return total

    def _weight(self, number: float) -> float:
        return float(self.rounds[self.arithmetic.number](np.array(number)))

    def _blend(self, a: Expression, b: Expression, weight: float) -> _Value:
        if weight == 0.0:
            return self.value(a)
        rest, share = self._weight(1.0 - weight), self._weight(weight)
        first = self._round(self.value(a) * rest, "in_blend")
        second = self._round(self.value(b) * share, "in_blend")
        return self._round(self._round(first + second, "in_blend"), "blend")

    def _round(self, value: _Value, place: str) -> _Value:
        if isinstance(value, float):
            return value
        return self.rounds[getattr(self.arithmetic, place)](value)
