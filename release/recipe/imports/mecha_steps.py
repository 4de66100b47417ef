"""Steps that grow out of a graph of results, some of which are used more than once."""

import re
from collections.abc import Iterable
from typing import Final

from release.errors import RecipeError
from release.recipe.functions import FUNCTIONS
from release.recipe.graph import MAX_STEPS
from release.recipe.imports.imported import OUTPUT, PART
from release.recipe.imports.terms import check_length

_NAME: Final = re.compile(r"'[^']*'|[A-Za-z]\w*", re.ASCII)


class Steps:
    """Collects one step for every merge; those that nothing needs fall away."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def add(self, expression: str, *, place: str) -> str:
        """Return the name of a new step.

        Raises:
            RecipeError: Code "import-too-large": the expression is too long.
        """
        name = f"{PART}_{len(self._texts) + 1}"
        self._texts[name] = check_length(expression, place=place)
        return name

    def has(self, name: str) -> bool:
        """Return whether `name` is a step."""
        return name in self._texts

    def needed(self, output: str) -> tuple[tuple[str, str], ...]:
        """Return the steps that `output` needs, each after those it uses.

        A step is used by later ones only, so their order is the one they came in.

        Args:
            output: A step or an ingredient; the last step returned says what it is.

        Raises:
            RecipeError: Code "import-too-large": a recipe cannot have as many.
        """
        reached: set[str] = set()
        waiting = [output]
        while waiting:
            name = waiting.pop()
            if name in self._texts and name not in reached:
                reached.add(name)
                waiting += names_in(self._texts[name])
        if len(reached) > MAX_STEPS:
            raise RecipeError(
                f"the recipe needs {len(reached)} steps, expected at most {MAX_STEPS}",
                code="import-too-large",
                hint="merge in several recipes, one after the other",
            )
        steps = [(name, text) for name, text in self._texts.items() if name in reached]
        if steps and steps[-1][0] == output:
            return (*steps[:-1], (OUTPUT, steps[-1][1]))
        return (*steps, (OUTPUT, output))

    def ingredients(self, steps: Iterable[tuple[str, str]]) -> set[str]:
        """Return the names in `steps` that are no step's."""
        found = {name for _, text in steps for name in names_in(text)}
        return found - self._texts.keys()


def names_in(expression: str) -> list[str]:
    """Return the ingredients and steps in an expression that was written here."""
    return [
        name
        for name in _NAME.findall(expression)
        if not name.startswith("'") and name not in FUNCTIONS
    ]
