"""Linear forms: models with exact coefficients, and the arithmetic on them."""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from release.errors import RecipeError
from release.recipe.cells import Cell
from release.recipe.conventions import Convention
from release.recipe.decimals import MAX_DECIMALS
from release.recipe.tokens import Place
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

MAX_COEFFICIENT: Final = 1_000_000
"""Largest magnitude of a coefficient; beyond it no merge has a meaning."""

ZERO: Final = Fraction(0)
ONE: Final = Fraction(1)

Form = Mapping[str, Fraction]
"""Leaf -> coefficient; an absent leaf has 0.

A leaf is an ingredient, or the result of a method by the name of its call, see `site`.
"""

Value = Fraction | Form
"""What an expression stands for: a number, or a model as a linear form."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What an expression is evaluated in: one cell of a recipe.

    `models` are the ingredients and the steps before. The forms of the models of every
    method call on the way are put into `calls`, by the call's `site`.
    """

    step: str
    place: Place
    models: Mapping[str, Form]
    convention: Convention
    cell: Cell
    calls: MutableMapping[str, tuple[Form, ...]]

    def covers(self, target: str) -> bool:
        """Whether the cell belongs to a part or block that `only` names."""
        return self.convention.is_in(self.cell, target)


def site(step: str, call: MethodCall) -> str:
    """Return the name of a step's method call while a recipe is folded.

    No ingredient has such a name.
    """
    return f"{step}@{call.column}"


def evaluate(tree: Expression, scope: Scope) -> Value:
    """Return the value of `tree` in one cell. Every name must be in `scope.models`.

    Raises:
        RecipeError: Code "recipe-not-linear": a product of models, a number added to a
            model, or a model where a number belongs (or the reverse). Code
            "recipe-coefficient" for a model of a method, as `model`.
    """
    value: Value
    match tree:
        case Number(number):
            value = number
        case Name(name) | Lora(name):
            value = scope.models[name]
        case Negation(operand):
            value = _scaled(evaluate(operand, scope), -ONE)
        case Sum(terms):
            value = _sum(terms, scope)
        case Product(factors):
            value = _product(factors, scope)
        case Lerp(a, b, t):
            value = _blend(a, b, _number(t, scope), scope)
        case BlockMerge(a, b, weights):
            value = _blend(a, b, weights.of(scope.cell), scope)
        case Only(operand, targets):
            covers = any(scope.covers(target.name) for target in targets)
            factor = ONE if covers else ZERO
            value = _scaled(_operand(operand, scope), factor)
        case MethodCall():
            value = _called(tree, scope)
    return value


def model(tree: Expression, scope: Scope) -> Form:
    """Return the value of `tree`, which has to be a model with usable coefficients.

    Raises:
        RecipeError: As `evaluate`, and code "recipe-coefficient" beyond
            `MAX_COEFFICIENT` or `MAX_DECIMALS`.
    """
    value = evaluate(tree, scope)
    if isinstance(value, Fraction):
        raise _not_linear(scope, tree, "got a number, expected a model")
    for name, coefficient in value.items():
        if (
            abs(coefficient) > MAX_COEFFICIENT
            or (10**MAX_DECIMALS) % coefficient.denominator
        ):
            raise scope.place.error(
                tree.column,
                f"the coefficient of {name} is beyond {MAX_COEFFICIENT:,} or has more"
                f" than {MAX_DECIMALS} decimals",
                code="recipe-coefficient",
                hint="use smaller numbers with fewer decimals",
            )
    return value


def _called(tree: MethodCall, scope: Scope) -> Form:
    name = site(scope.step, tree)
    scope.calls[name] = tuple(model(each, scope) for each in tree.models)
    return {name: ONE}


def _scaled(value: Value, factor: Fraction) -> Value:
    if isinstance(value, Fraction):
        return value * factor
    return {name: coefficient * factor for name, coefficient in value.items()}


def _sum(terms: tuple[Expression, ...], scope: Scope) -> Value:
    number = ZERO
    form: dict[str, Fraction] | None = None
    number_term = terms[0]
    for term in terms:
        value = evaluate(term, scope)
        if isinstance(value, Fraction):
            number += value
            number_term = term if value else number_term
        else:
            form = {} if form is None else form
            _add(form, value)
    if form is None:
        return number
    if number:
        raise _not_linear(scope, number_term, "got a number added to a model")
    return form


def _add(total: dict[str, Fraction], form: Form) -> None:
    for name, value in form.items():
        total[name] = total.get(name, ZERO) + value


def _product(factors: tuple[Expression, ...], scope: Scope) -> Value:
    number = ONE
    form: Form | None = None
    for factor in factors:
        value = evaluate(factor, scope)
        if isinstance(value, Fraction):
            number *= value
        elif form is None:
            form = value
        else:
            raise _not_linear(scope, factor, "got a product of two models")
    return number if form is None else _scaled(form, number)


def _blend(a: Expression, b: Expression, weight: Fraction, scope: Scope) -> Form:
    first, second = (_operand(tree, scope) for tree in (a, b))
    total = {name: value * (ONE - weight) for name, value in first.items()}
    _add(total, {name: value * weight for name, value in second.items()})
    return total


def _number(tree: Expression, scope: Scope) -> Fraction:
    value = evaluate(tree, scope)
    if not isinstance(value, Fraction):
        raise _not_linear(scope, tree, "got a model as the third part of lerp")
    return value


def _operand(tree: Expression, scope: Scope) -> Form:
    value = evaluate(tree, scope)
    if isinstance(value, Fraction):
        raise _not_linear(scope, tree, "got a number where a function takes a model")
    return value


def _not_linear(scope: Scope, tree: Expression, reason: str) -> RecipeError:
    return scope.place.error(
        tree.column,
        reason,
        code="recipe-not-linear",
        hint="a recipe is a sum of models, each times a number: a + 0.5 * (b - c)",
    )
