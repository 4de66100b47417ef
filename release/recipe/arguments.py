"""Arguments of a method call: which are its models, and which its numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from release.errors import RecipeError, visible
from release.recipe.decimals import decimal_text
from release.recipe.functions import MethodKind, Parameter
from release.recipe.names import suggestion
from release.recipe.tokens import Place
from release.recipe.tree import Expression, MethodCall, Negation, Number


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument as written; `name` is "" for one that has none."""

    name: str
    value: Expression
    column: int


def bind(
    kind: MethodKind, arguments: Sequence[Argument], *, place: Place, column: int
) -> MethodCall:
    """Return the call of a method with its arguments in their places.

    Models come first and have no name; numbers follow, in the method's order or by
    name. Where a method takes any number of models, its numbers are always named.

    Args:
        kind: The method.
        arguments: As written.
        place: The expression that errors point into.
        column: Where the call starts in it.

    Raises:
        RecipeError: Code "recipe-syntax" for an argument too few or too many, or
            "method-parameter" for a number that is unknown, missing, no plain number,
            or outside of its range.
    """
    bare = [each for each in arguments if not each.name]
    n_models = len(bare) if kind.takes_more else len(kind.models)
    if len(bare) < len(kind.models):
        raise place.error(
            column,
            f"got {len(bare)} models in {kind.name}, expected {len(kind.models)}",
            code="recipe-syntax",
            hint=kind.signature,
        )
    values = _unnamed(kind, bare[n_models:], place)
    for argument in arguments:
        if argument.name:
            parameter = _parameter(kind, argument, place)
            if parameter.name in values:
                raise _error(kind, argument.column, f"{parameter.name} twice", place)
            values[parameter.name] = _value(kind, parameter, argument, place)
    return MethodCall(
        kind.name,
        tuple(argument.value for argument in bare[:n_models]),
        _complete(kind, values, place=place, column=column),
        column,
    )


def _unnamed(
    kind: MethodKind, arguments: Sequence[Argument], place: Place
) -> dict[str, Fraction]:
    if len(arguments) > len(kind.parameters):
        surplus = arguments[len(kind.parameters)]
        raise place.error(
            surplus.column,
            f"got one argument too many in {kind.name}",
            code="recipe-syntax",
            hint=kind.signature,
        )
    return {
        parameter.name: _value(kind, parameter, argument, place)
        for parameter, argument in zip(kind.parameters, arguments, strict=False)
    }


def _parameter(kind: MethodKind, argument: Argument, place: Place) -> Parameter:
    known = {parameter.name: parameter for parameter in kind.parameters}
    if argument.name not in known:
        raise place.error(
            argument.column,
            f"{kind.name} has no parameter '{visible(argument.name, 40)}'",
            code="method-parameter",
            hint=suggestion(argument.name, known),
        )
    return known[argument.name]


def _value(
    kind: MethodKind, parameter: Parameter, argument: Argument, place: Place
) -> Fraction:
    tree, sign = argument.value, 1
    if isinstance(tree, Negation):
        tree, sign = tree.operand, -1
    if not isinstance(tree, Number):
        got = f"no plain number for {parameter.name}"
        raise _error(kind, argument.column, got, place)
    value = tree.value * sign
    if not parameter.allows(value):
        raise place.error(
            argument.column,
            f"got {decimal_text(value)} for {parameter.name} of {kind.name}, expected"
            f" {parameter.range_text}",
            code="method-parameter",
            hint=kind.signature,
        )
    return value


def _complete(
    kind: MethodKind,
    values: dict[str, Fraction],
    *,
    place: Place,
    column: int,
) -> tuple[tuple[str, Fraction], ...]:
    complete: list[tuple[str, Fraction]] = []
    for parameter in kind.parameters:
        value = values.get(parameter.name, parameter.default)
        if value is None:
            raise _error(kind, column, f"no {parameter.name}", place)
        complete.append((parameter.name, value))
    return tuple(complete)


def _error(kind: MethodKind, column: int, got: str, place: Place) -> RecipeError:
    return place.error(
        column,
        f"got {got} in {kind.name}",
        code="method-parameter",
        hint=f"it is called as {kind.signature}",
    )
