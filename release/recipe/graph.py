"""Steps that use one another: their names, their order, and what is left over."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Final

from release.errors import RecipeError, first_names, visible
from release.recipe.expression import (
    FUNCTIONS,
    BlockMerge,
    Expression,
    Lerp,
    Name,
    Negation,
    Number,
    Product,
    Sum,
    parse,
)
from release.recipe.names import suggestion
from release.recipe.tokens import Place

MAX_STEPS: Final = 100


@dataclass(frozen=True, slots=True)
class Step:
    """A parsed step and where it was written."""

    name: str
    place: Place
    tree: Expression


def ordered_steps(
    steps: Mapping[str, str],
    output: str,
    *,
    ingredient_names: Collection[str],
    copied_from: Collection[str],
) -> tuple[Step, ...]:
    """Return the parsed steps, each after those it uses.

    Args:
        steps: Step name -> expression, in any order.
        output: The step or ingredient that is the result.
        ingredient_names: Every declared ingredient.
        copied_from: Ingredients that count as used without being in an expression.

    Raises:
        RecipeError: A syntax error, or code "unknown-name", "duplicate-name",
            "recipe-cycle", "unused-step", "unused-ingredient", "too-many-steps".
    """
    _check_names(steps, ingredient_names)
    places = {name: Place(step_label(name), text) for name, text in steps.items()}
    trees = {
        name: parse(place.expression, label=place.label)
        for name, place in places.items()
    }
    known = {*steps, *ingredient_names}
    if output not in known:
        raise RecipeError(
            f"recipe.output: unknown name '{visible(output)}'",
            code="unknown-name",
            hint=suggestion(output, known),
        )
    used = {name: _used_names(tree) for name, tree in trees.items()}
    _check_known(places, used, known)
    order = _order(used)
    _check_used(output, used, ingredients={*ingredient_names} - {*copied_from})
    return tuple(Step(name, places[name], trees[name]) for name in order)


def step_label(step: str) -> str:
    """Return the key path of a step in a release definition."""
    return f"recipe.steps.{step}"


def _check_names(steps: Mapping[str, str], ingredient_names: Collection[str]) -> None:
    if len(steps) > MAX_STEPS:
        raise RecipeError(
            f"recipe.steps: got {len(steps)} steps, expected at most {MAX_STEPS}",
            code="too-many-steps",
            hint="write a step that is used once into the step that uses it",
        )
    taken = [name for name in steps if name in ingredient_names]
    reserved = [name for name in (*steps, *ingredient_names) if name in FUNCTIONS]
    for name, owner in (
        *((name, "an ingredient") for name in taken),
        *((name, "a function") for name in reserved),
    ):
        raise RecipeError(
            f"recipe: the name {visible(name)} is already that of {owner}",
            code="duplicate-name",
            hint="rename the step or ingredient",
        )


def _used_names(tree: Expression) -> list[Name]:
    """Return every name in `tree`, in the order written."""
    match tree:
        case Number():
            return []
        case Name():
            return [tree]
        case Negation(operand):
            return _used_names(operand)
        case Sum(parts) | Product(parts):
            return _all_names(parts)
        case Lerp(a, b, t):
            return _all_names((a, b, t))
        case BlockMerge(base, other):
            return _all_names((base, other))


def _all_names(parts: Iterable[Expression]) -> list[Name]:
    return [name for part in parts for name in _used_names(part)]


def _check_known(
    places: Mapping[str, Place],
    used: Mapping[str, Sequence[Name]],
    known: Collection[str],
) -> None:
    for step, names in used.items():
        for name in names:
            if name.name not in known:
                raise places[step].error(
                    name.column,
                    f"unknown name '{visible(name.name, 64)}'",
                    code="unknown-name",
                    hint=suggestion(name.name, known),
                )


def _order(used: Mapping[str, Sequence[Name]]) -> list[str]:
    """Return the steps, each after those it uses."""
    graph = {
        step: {name.name for name in names if name.name in used}
        for step, names in used.items()
    }
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise RecipeError(
            f"recipe.steps: steps use each other in a circle: {visible(circle)}",
            code="recipe-cycle",
            hint="a step may only use ingredients and steps that do not need it",
        ) from error


def _check_used(
    output: str,
    used: Mapping[str, Sequence[Name]],
    *,
    ingredients: Collection[str],
) -> None:
    reached: set[str] = set()
    waiting = [output]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(use.name for use in used.get(name, ()))
    for key, code, names in (
        ("recipe.steps", "unused-step", set(used) - reached),
        ("ingredients", "unused-ingredient", {*ingredients} - reached),
    ):
        if names:
            raise RecipeError(
                f"{key}: not needed for '{visible(output)}':"
                f" {first_names(sorted(names))}",
                code=code,
                hint="remove it, or name it in a step that the output uses",
            )
