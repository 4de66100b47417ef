"""Finding a recipe: a release of the catalog, a definition, or a recipe file."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from release.catalog.find import find_definition
from release.catalog.read import parse_definition
from release.definition import recipe_text
from release.formats.toml_text import read_toml_text
from release.recipe.file import FILE_HINT, parse_recipe
from release.recipe.text import RecipeText

_DEFINITION_KEYS: Final = frozenset({"release", "extends", "kind"})
"""Keys that a definition has at its top, and a recipe file never."""


@dataclass(frozen=True, slots=True)
class FoundRecipe:
    """A recipe and where it was found.

    `folder` is what paths of its ingredients are relative to.
    """

    recipe: RecipeText
    name: str
    folder: Path


def find_recipe(name_or_file: str, folder: Path) -> FoundRecipe:
    """Return the recipe of a release or of a file.

    A file is a release definition if it has one of a definition's keys at its top, else
    a recipe file.

    Args:
        name_or_file: Path of a TOML file, or the name of a release, for which
            `NAME.toml` in `folder` wins over the catalog.
        folder: Where the maker's own files are.

    Raises:
        RecipeError: As `release.catalog.find.find_definition`,
            `release.catalog.read.read_definition` or `release.recipe.file.read_recipe`.
    """
    own = folder / f"{name_or_file}.toml"
    path = own if own.is_file() else Path(name_or_file)
    if path.suffix == ".toml" or path.is_file():
        return read_recipe_of(path)
    definition, _ = find_definition(name_or_file, folder)
    return FoundRecipe(recipe_text(definition), name_or_file, folder)


def read_recipe_of(path: Path) -> FoundRecipe:
    """Return the recipe in a file: a recipe file, or a release definition.

    Raises:
        RecipeError: As `release.catalog.read.read_definition` or
            `release.recipe.file.read_recipe`.
    """
    text = read_toml_text(path, code="recipe-file", hint=FILE_HINT)
    origin = str(path)
    if _is_definition(text):
        recipe = recipe_text(parse_definition(text, origin=origin, folder=path.parent))
    else:
        recipe = parse_recipe(text, origin=origin)
    return FoundRecipe(recipe, path.stem, path.parent)


def _is_definition(text: str) -> bool:
    try:
        return not tomllib.loads(text).keys().isdisjoint(_DEFINITION_KEYS)
    except (RecursionError, ValueError):
        return False  # and its reader says what is wrong
