"""The recipe that a header carries, as the tables of a definition."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from release.catalog.outline import plain_line
from release.definition import HUB_ID
from release.errors import RecipeError
from release.metadata import RECIPE_KEY
from release.recipe.canonical import read_canonical
from release.recipe.file import parse_recipe
from release.recipe.fold import fold
from release.recipe.imports.imported import OUTPUT
from release.recipe.imports.read import import_metadata
from release.recipe.imports.to_toml import to_toml
from release.recipe.rows import FoldedRecipe
from release.recipe.text import MISSING_ERROR, Origin, RecipeText

_NOTHING: Final = "import-nothing"


@dataclass(frozen=True, slots=True)
class CarriedRecipe:
    """A recipe from a header.

    Attributes:
        recipe: Table `[recipe]`, without `steps`.
        steps: Step -> expression.
        ingredients: Ingredient -> its table.
        source: What wrote it.
        notes: What is good to know, one line each.
    """

    recipe: Mapping[str, str]
    steps: Mapping[str, str]
    ingredients: Mapping[str, Mapping[str, str]]
    source: str
    notes: tuple[str, ...] = ()


def carried_recipe(metadata: Mapping[str, str]) -> CarriedRecipe | None:
    """Return the recipe in a header, None if there is none.

    Raises:
        RecipeError: There is one, and it is damaged, or cannot be said exactly in our
            language.
    """
    if RECIPE_KEY in metadata:
        return _own(read_canonical(metadata[RECIPE_KEY], place=RECIPE_KEY))
    try:
        imported = import_metadata(metadata)
    except RecipeError as error:
        if error.code == _NOTHING:
            return None
        raise
    text = parse_recipe(to_toml(imported), origin=f"the header, {imported.origin}")
    return CarriedRecipe(
        _settings(fold(text), text.output),
        text.steps,
        {name: _table(name, origin) for name, origin in text.ingredients.items()},
        imported.origin,
        (*imported.notes, *imported.warnings),
    )


def _own(recipe: FoldedRecipe) -> CarriedRecipe:
    """Return a recipe of ours, which a header has as coefficients, without its steps.

    Raises:
        RecipeError: Code "recipe-blocks": blocks differ, or it has methods, so no one
            sum says it.
    """
    rows = recipe.decimal_rows()
    first, *others = rows.values()
    if recipe.methods or any(row != first for row in others):
        raise RecipeError(
            f"{RECIPE_KEY}: holds coefficients block by block, not the steps that led "
            "to them",
            code="recipe-blocks",
            hint="write the steps; krelease audit compares them with the file",
        )
    terms = [
        f"{value} * {f'lora({leaf})' if leaf in recipe.loras else leaf}"
        for leaf, value in first.items()
    ]
    text = RecipeText(
        {OUTPUT: " + ".join(terms).replace("+ -", "- ")},
        OUTPUT,
        {name: Origin() for name in recipe.needed},
    )
    return CarriedRecipe(
        _settings(recipe, OUTPUT),
        text.steps,
        {name: _table(name, Origin()) for name in recipe.needed},
        "krelease",
    )


def _settings(recipe: FoldedRecipe, output: str) -> dict[str, str]:
    settings = {
        "output": output,
        "convention": recipe.convention.name,
        "copy_from": recipe.copy_from,
        "vae": recipe.vae,
    }
    if recipe.missing != MISSING_ERROR:
        settings["missing"] = recipe.missing
    return settings


def _table(name: str, origin: Origin) -> dict[str, str]:
    """Return an ingredient's table; a path of another machine is not in it."""
    known = {
        "title": plain_line(origin.title or origin.file or "") or name,
        "hub": origin.hub or "",
        "revision": "" if origin.revision == "main" else origin.revision,
        "file": origin.hub_file or "",
        "sha256": origin.sha256 or "",
    }
    is_hub = re.fullmatch(HUB_ID, known["hub"]) is not None
    left = {"hub", "revision", "file"} if not is_hub else set()
    return {key: text for key, text in known.items() if text and key not in left}
