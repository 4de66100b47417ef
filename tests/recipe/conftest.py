"""Recipes from a few words, and the one this project began with."""

from collections.abc import Callable, Iterable, Mapping

import pytest

from release.errors import RecipeError
from release.recipe.fold import fold
from release.recipe.rows import FoldedRecipe
from release.recipe.text import KeyPaths, Origin, RecipeText, recipe_of_expression

MBW = "0,0.1,0.1,0,0.1,0.1,0,0.1,0.1,0,0,0,0,0,0.05,0.05,0.05,0.05,0.05,0.05"
GAMMA = "beta7 + 1.0*(anxl3 - anxl2) + 0.25*(base8 - beta7)"
REV2 = {"gamma": GAMMA, "rev2": f"mbw(gamma, anxl3, '{MBW}')"}
INGREDIENTS = ("beta7", "anxl3", "anxl2", "base8")

KEYS = KeyPaths(steps="recipe.steps", output="recipe.output")


def recipe_text(
    steps: Mapping[str, str] | str,
    names: Iterable[str],
    output: str = "s",
    **settings: str,
) -> RecipeText:
    ingredients = {name: Origin() for name in names}
    if isinstance(steps, str):
        return recipe_of_expression(steps, ingredients, **settings)
    return RecipeText(steps, output, ingredients, keys=KEYS, **settings)


@pytest.fixture(scope="session")
def folded() -> Callable[..., FoldedRecipe]:
    """Fold steps, or one expression, over ingredients of the given names."""

    def run(
        steps: Mapping[str, str] | str,
        names: Iterable[str] = "abc",
        output: str = "s",
        **settings: str,
    ) -> FoldedRecipe:
        return fold(recipe_text(steps, names, output, **settings))

    return run


@pytest.fixture(scope="session")
def refused() -> Callable[..., RecipeError]:
    """Return the error that folding ends with; it is one line and has a hint."""

    def run(
        steps: Mapping[str, str] | str,
        names: Iterable[str] = "abc",
        output: str = "s",
        **settings: str,
    ) -> RecipeError:
        with pytest.raises(RecipeError) as caught:
            fold(recipe_text(steps, names, output, **settings))
        assert "\n" not in str(caught.value)
        assert caught.value.hint
        return caught.value

    return run


@pytest.fixture(scope="session")
def gamma(folded: Callable[..., FoldedRecipe]) -> Callable[..., FoldedRecipe]:
    """Fold gamma rev2, with other settings or another first step."""

    def run(gamma: str = GAMMA, **settings: str) -> FoldedRecipe:
        steps = {**REV2, "gamma": gamma}
        return folded(steps, INGREDIENTS, "rev2", **{"copy_from": "beta7", **settings})

    return run
