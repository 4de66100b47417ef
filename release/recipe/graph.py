"""Steps that use one another: their names, their order, and what is left over."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Final

from release.errors import RecipeError, first_names, visible
from release.recipe.expression import parse
from release.recipe.functions import FUNCTIONS
from release.recipe.names import suggestion
from release.recipe.text import EXPRESSION_STEP, MERGED_VAE, RecipeText
from release.recipe.tokens import Place
from release.recipe.tree import Expression, Lora, MethodCall, Name, walk

MAX_STEPS: Final = 100
MAX_METHODS: Final = 100
"""Most calls of methods in one recipe; each is computed anew for every tensor."""


@dataclass(frozen=True, slots=True)
class Step:
    """A parsed step and where it was written."""

    name: str
    place: Place
    tree: Expression

    @property
    def names(self) -> list[Name | Lora]:
        """Every name in it, in the order written."""
        return [node for node in walk(self.tree) if isinstance(node, Name | Lora)]


@dataclass(frozen=True, slots=True)
class Graph:
    """The steps of a recipe that the output needs.

    Attributes:
        steps: Each after those it uses.
        ingredients: Those that an expression names, sorted.
        loras: Those of them that are LoRAs, sorted.
        base: The first model that the output names, "" if it names none.
    """

    steps: tuple[Step, ...]
    ingredients: tuple[str, ...]
    loras: tuple[str, ...]
    base: str


def read_graph(recipe: RecipeText) -> Graph:
    """Return the parsed steps of a recipe in their order.

    Raises:
        RecipeError: A syntax error, or code "unknown-name", "duplicate-name",
            "recipe-cycle", "unused-step", "unused-ingredient", "too-many-steps",
            "too-many-methods", "lora-use".
    """
    _check_names(recipe)
    steps = {name: _parsed(recipe, name) for name in recipe.steps}
    _check_methods(steps.values())
    known = {*steps, *recipe.ingredients}
    if recipe.output not in known:
        raise RecipeError(
            f"{recipe.keys.output}: unknown name '{visible(recipe.output)}'",
            code="unknown-name",
            hint=suggestion(recipe.output, known),
        )
    for step in steps.values():
        _check_known(step, known)
    order = _order(steps)
    reached = _reached(recipe.output, steps)
    _check_used(recipe, reached)
    loras = _loras(list(steps.values()), recipe)
    base = next(_models_in_order(recipe.output, steps), "")
    return Graph(
        steps=tuple(steps[name] for name in order),
        ingredients=tuple(sorted(reached - steps.keys())),
        loras=tuple(sorted(loras)),
        base=base,
    )


def names_in(expression: str) -> tuple[str, ...]:
    """Return the names of one expression, each once, in the order written.

    Raises:
        RecipeError: A syntax error.
    """
    step = Step(
        "", Place("expression", expression), parse(expression, label="expression")
    )
    return tuple(dict.fromkeys(name.name for name in step.names))


def _parsed(recipe: RecipeText, name: str) -> Step:
    place = Place(recipe.keys.step(name), recipe.steps[name])
    return Step(name, place, parse(place.expression, label=place.label))


def _check_names(recipe: RecipeText) -> None:
    steps, ingredients = recipe.steps, recipe.ingredients
    if len(steps) > MAX_STEPS:
        raise RecipeError(
            f"{recipe.keys.steps}: got {len(steps)} steps, expected at most"
            f" {MAX_STEPS}",
            code="too-many-steps",
            hint="write a step that is used once into the step that uses it",
        )
    if MERGED_VAE in ingredients:
        raise RecipeError(
            f"ingredients.{MERGED_VAE}: this name means the merged VAE",
            code="duplicate-name",
            hint="rename the ingredient",
        )
    taken = [name for name in steps if name in ingredients]
    reserved = [name for name in (*steps, *ingredients) if name in FUNCTIONS]
    for name, owner in (
        *((name, "an ingredient") for name in taken),
        *((name, "a function") for name in reserved),
    ):
        raise RecipeError(
            f"recipe: the name {visible(name)} is already that of {owner}",
            code="duplicate-name",
            hint="rename the step or ingredient",
        )


def _check_methods(steps: Iterable[Step]) -> None:
    count = 0
    for step in steps:
        for node in walk(step.tree):
            count += isinstance(node, MethodCall)
            if count > MAX_METHODS:
                raise step.place.error(
                    node.column,
                    f"got more than {MAX_METHODS} calls of methods in a recipe",
                    code="too-many-methods",
                    hint="name a result that is used again as a step",
                )


def _check_known(step: Step, known: Collection[str]) -> None:
    for name in step.names:
        if name.name not in known:
            raise step.place.error(
                name.column,
                f"unknown name '{visible(name.name, 64)}'",
                code="unknown-name",
                hint=suggestion(name.name, {*known} - {EXPRESSION_STEP}),
            )


def _order(steps: Mapping[str, Step]) -> list[str]:
    """Return the steps, each after those it uses."""
    graph = {
        name: {each.name for each in step.names if each.name in steps}
        for name, step in steps.items()
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


def _reached(output: str, steps: Mapping[str, Step]) -> set[str]:
    """Return every step and ingredient that the output needs, itself included."""
    reached: set[str] = set()
    waiting = [output]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            names = steps[name].names if name in steps else []
            waiting.extend(each.name for each in names)
    return reached


def _check_used(recipe: RecipeText, reached: Collection[str]) -> None:
    unused = recipe.ingredients.keys() - recipe.copied_from
    output = recipe.output
    if output != EXPRESSION_STEP:
        output = f"'{visible(output)}'"
    for key, code, names in (
        (recipe.keys.steps, "unused-step", recipe.steps.keys() - reached),
        ("ingredients", "unused-ingredient", unused - {*reached}),
    ):
        if names:
            raise RecipeError(
                f"{key}: not needed for {output}: {first_names(sorted(names))}",
                code=code,
                hint="remove it, or name it in a step that the output uses",
            )


def _loras(steps: Sequence[Step], recipe: RecipeText) -> set[str]:
    """Return the ingredients that are LoRAs everywhere they are named.

    Raises:
        RecipeError: Code "lora-use": `lora` of a step, or an ingredient that is a LoRA
            in one place and a model in another.
    """
    loras: set[str] = set()
    for step in steps:
        for name in step.names:
            if isinstance(name, Lora) and name.name not in recipe.ingredients:
                raise step.place.error(
                    name.column,
                    f"{visible(name.name, 64)} is a step, expected an ingredient",
                    code="lora-use",
                    hint="a step of LoRAs is used by its name alone",
                )
            if isinstance(name, Lora):
                loras.add(name.name)
    for step in steps:
        for name in step.names:
            if isinstance(name, Name) and name.name in loras:
                raise step.place.error(
                    name.column,
                    f"{visible(name.name, 64)} is a LoRA elsewhere, and a model here",
                    code="lora-use",
                    hint=f"write lora({visible(name.name, 64)})",
                )
    return loras


def _models_in_order(output: str, steps: Mapping[str, Step]) -> Iterator[str]:
    """Yield the models that a step leads to, in the order written."""
    seen: set[str] = set()
    waiting = [output]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name not in steps:
            yield name
            continue
        names = [each.name for each in steps[name].names if isinstance(each, Name)]
        waiting.extend(reversed(names))
