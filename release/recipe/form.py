"""Linear forms: models with exact coefficients, and the arithmetic on them."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from release.errors import RecipeError
from release.recipe.expression import (
    BlockMerge,
    Expression,
    Lerp,
    Name,
    Negation,
    Number,
    Product,
    Sum,
)
from release.recipe.tokens import Place

MAX_COEFFICIENT: Final = 1_000_000
"""Largest magnitude of a coefficient; beyond it no merge has a meaning."""
MAX_DECIMALS: Final = 60
"""Most decimals of a coefficient."""

ZERO: Final = Fraction(0)
ONE: Final = Fraction(1)

Form = Mapping[str, Fraction]
"""Ingredient -> coefficient; an absent ingredient has 0."""

Value = Fraction | Form
"""What an expression stands for: a number, or a model as a linear form."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What the names and block weights of an expression stand for in one block.

    `weight_index` is the block's place in a list of weights, None for a block that no
    list reaches; its weight is 0.
    """

    place: Place
    models: Mapping[str, Form]
    weight_index: int | None


def evaluate(tree: Expression, scope: Scope) -> Value:
    """Return the value of `tree` in one block. Every name must be in `scope.models`.

    Raises:
        RecipeError: Code "recipe-not-linear": a product of models, a number added to a
            model, or a model where a number belongs (or the reverse).
    """
    match tree:
        case Number() | Name():
            return tree.value if isinstance(tree, Number) else scope.models[tree.name]
        case Negation(operand):
            return _scaled(evaluate(operand, scope), -ONE)
        case Sum(terms):
            return _sum(terms, scope)
        case Product(factors):
            return _product(factors, scope)
        case Lerp(a, b, t):
            return _blend(a, b, _number(t, scope), scope)
        case BlockMerge(a, b, weights):
            return _blend(a, b, _block_weight(weights, scope), scope)


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


def decimal_text(value: Fraction) -> str:
    """Return a coefficient as its exact, shortest decimal: "0.675", "-1", "0"."""
    scaled, rest = divmod(abs(value.numerator) * 10**MAX_DECIMALS, value.denominator)
    if rest:
        raise ValueError(f"{value} has no decimal form of {MAX_DECIMALS} digits")
    whole, decimals = divmod(scaled, 10**MAX_DECIMALS)
    fraction = f"{decimals:0{MAX_DECIMALS}}".rstrip("0")
    sign = "-" if value < 0 else ""
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def _scaled(value: Value, factor: Fraction) -> Value:
    if isinstance(value, Fraction):
        return value * factor
    return {name: coefficient * factor for name, coefficient in value.items()}


def _added(left: Form, right: Form) -> Form:
    names = left.keys() | right.keys()
    return {name: left.get(name, ZERO) + right.get(name, ZERO) for name in names}


def _sum(terms: tuple[Expression, ...], scope: Scope) -> Value:
    number = ZERO
    form: Form | None = None
    number_term = terms[0]
    for term in terms:
        value = evaluate(term, scope)
        if isinstance(value, Fraction):
            number += value
            number_term = term if value else number_term
        else:
            form = value if form is None else _added(form, value)
    if form is None:
        return number
    if number:
        raise _not_linear(scope, number_term, "got a number added to a model")
    return form


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
    kept = {name: value * (ONE - weight) for name, value in first.items()}
    return _added(kept, {name: value * weight for name, value in second.items()})


def _number(tree: Expression, scope: Scope) -> Fraction:
    value = evaluate(tree, scope)
    if not isinstance(value, Fraction):
        raise _not_linear(scope, tree, "got a model as the third part of lerp")
    return value


def _block_weight(weights: tuple[Fraction, ...], scope: Scope) -> Fraction:
    return ZERO if scope.weight_index is None else weights[scope.weight_index]


def _operand(tree: Expression, scope: Scope) -> Form:
    value = evaluate(tree, scope)
    if isinstance(value, Fraction):
        raise _not_linear(scope, tree, "got a number where mbw or lerp takes a model")
    return value


def _not_linear(scope: Scope, tree: Expression, reason: str) -> RecipeError:
    return scope.place.error(
        tree.column,
        reason,
        code="recipe-not-linear",
        hint="a recipe is a sum of models, each times a number: a + 0.5 * (b - c)",
    )
