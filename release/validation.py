"""Refusing a release definition for what is wrong in it."""

from collections.abc import Sequence
from typing import Final

from release.recipe import problems
from release.recipe.problems import Problem

_MODEL_HINT: Final = "krelease releases gamma-rev2 prints a complete definition"


def refuse(origin: str, found: Sequence[Problem]) -> None:
    """Raise for the first problem, naming the others' keys; nothing if there is none.

    Raises:
        RecipeError: Code "definition".
    """
    problems.refuse(origin, found, code="definition", hint=_MODEL_HINT)
