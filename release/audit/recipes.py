"""The recipe that a checkpoint's own header declares."""

from collections.abc import Mapping

from release.audit.question import Question
from release.errors import RecipeError
from release.metadata import INGREDIENTS_KEY, RECIPE_KEY
from release.recipe.canonical import read_canonical
from release.recipe.file import parse_recipe
from release.recipe.fold import fold
from release.recipe.imports.foreign import read_object
from release.recipe.imports.read import import_metadata
from release.recipe.imports.to_toml import to_toml


def declared_question(metadata: Mapping[str, str]) -> Question:
    """Return the recipe in a header: ours, or one of a program that we import.

    Raises:
        RecipeError: There is none, or it is unreadable or not exact in our language.
    """
    if RECIPE_KEY in metadata:
        recipe = read_canonical(metadata[RECIPE_KEY], place=RECIPE_KEY)
        return Question(recipe, None, f"the header's {RECIPE_KEY}")
    try:
        imported = import_metadata(metadata)
    except RecipeError as error:
        if error.code != "import-nothing":
            raise
        raise RecipeError(
            "the header declares no recipe",
            code="audit-no-recipe",
            hint="pass --recipe or --release, or --fit to find the coefficients",
        ) from error
    text = parse_recipe(to_toml(imported), origin=f"the header, {imported.origin}")
    return Question(fold(text), text, f"the header, written by {imported.origin}")


def claimed_ingredients(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return ingredient name -> tensor set digest as a header has them; foreign."""
    if INGREDIENTS_KEY not in metadata:
        return {}
    try:
        members = read_object(metadata[INGREDIENTS_KEY], place=INGREDIENTS_KEY)
    except RecipeError:
        return {}
    return {k: value for k, value in members.items() if isinstance(value, str)}
