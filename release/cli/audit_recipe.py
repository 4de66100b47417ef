"""Where an audit gets its recipe and its ingredients from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from release.audit.audit import any_sum
from release.audit.question import Question
from release.audit.recipes import declared_question
from release.catalog.recipes import find_recipe, read_recipe_of
from release.errors import RecipeError, UsageError, visible
from release.gather import check_declared, find_at_hand
from release.recipe.conventions import DEFAULT_CONVENTION
from release.recipe.file import parse_recipe
from release.recipe.fold import fold
from release.recipe.imports.read import import_recipe
from release.recipe.imports.to_toml import to_toml
from release.recipe.names import suggestion
from release.recipe.rows import FoldedRecipe
from release.recipe.text import Origin, RecipeText, recipe_of_expression

if TYPE_CHECKING:
    from release.console import Console
    from release.formats.checkpoint import Checkpoint

_PARTS_OF_EXPRESSIONS = frozenset("+-*() ,'")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user asks about.

    Attributes:
        recipe: The recipe, or any sum of the ingredients.
        text: As it was written, if it is known.
        origin: Where it comes from; "" to find the coefficients.
        folder: What paths in it are relative to.
        warnings: What its reader had to say.
    """

    recipe: FoldedRecipe
    text: RecipeText | None
    origin: str
    folder: Path
    warnings: tuple[str, ...] = ()

    def question(self, paths: Mapping[str, Path]) -> Question:
        """Return the question, given which ingredients are at hand."""
        if not self.origin:
            return Question(None)
        missing = tuple(name for name in self.recipe.needed if name not in paths)
        return Question(self.recipe, self.text, self.origin, missing)


def ask(
    checkpoint: "Checkpoint",
    given: Mapping[str, str],
    named: tuple[str, str],
    *,
    convention: str | None,
) -> Asked:
    """Return what is asked.

    Args:
        checkpoint: The file.
        given: Ingredient name -> path, as the user named them.
        named: "fit", "release", "recipe" or "header", and what was named.
        convention: For an expression.

    Raises:
        RecipeError: There is no recipe, or it is wrong.
        UsageError: An ingredient that the recipe does not have, or none to fit.
    """
    kind, name = named
    if kind == "fit":
        asked = _any_sum(given)
    elif kind == "header":
        asked = _declared(checkpoint)
    elif kind == "release":
        recipe = find_recipe(name, Path())
        asked = _of_text(recipe.recipe, f"release {name}", recipe.folder)
    else:
        asked = _of_recipe(name, given, convention)
    for each in given:
        if each not in asked.recipe.needed:
            raise UsageError(
                f"--ingredient {visible(each)}: the recipe has no such ingredient",
                code="unknown-ingredient",
                hint=suggestion(each, asked.recipe.needed),
            )
    return asked


def ingredient_paths(
    asked: Asked,
    given: Mapping[str, str],
    *,
    console: "Console",
    checks: bool,
    threads: int,
) -> dict[str, Path]:
    """Return the ingredients that are at hand, and check their declared digests.

    Raises:
        UsageError: None is at hand.
        IntegrityError: A file is another one than the recipe says.
        HubError: A Hub file that the user named cannot be had.
    """
    origins = {} if asked.text is None else asked.text.ingredients
    known = {name: origins.get(name, Origin()) for name in asked.recipe.needed}
    paths = find_at_hand(known, given, base=asked.folder, note=console.note)
    if not paths:
        options = " ".join(f"-i {name}=PATH" for name in asked.recipe.needed)
        raise UsageError(
            "no ingredient is at hand",
            code="no-ingredients",
            hint=f"the recipe needs: {options}",
        )
    if checks:
        at_hand = {name: known[name] for name in paths}
        check_declared(at_hand, paths, progress=console, threads=threads)
    return paths


def _declared(checkpoint: "Checkpoint") -> Asked:
    try:
        found = declared_question(checkpoint.metadata)
    except RecipeError as error:
        raise error.within(str(checkpoint.path)) from error
    if found.recipe is None:
        raise AssertionError("a header declares a recipe or is refused")
    return Asked(found.recipe, found.text, found.origin, Path())


def _any_sum(given: Mapping[str, str]) -> Asked:
    if not given:
        raise UsageError(
            "--fit: no ingredient was given",
            code="no-ingredients",
            hint="name those it may be made of: -i a=A.safetensors -i b=B.safetensors",
        )
    return Asked(any_sum(sorted(given)), None, "", Path())


def _of_recipe(name: str, given: Mapping[str, str], convention: str | None) -> Asked:
    path = Path(name)
    is_expression = not path.is_file() and (
        bool(_PARTS_OF_EXPRESSIONS & set(name)) or name in given
    )
    if is_expression:
        text = recipe_of_expression(
            name,
            {each: Origin() for each in given},
            convention=convention or DEFAULT_CONVENTION,
        )
        return _of_text(text, "the expression", Path())
    if convention:
        raise UsageError(
            "--convention is for an EXPRESSION, not for a recipe file",
            code="audit-recipe",
            hint="change the recipe file",
        )
    if path.suffix == ".toml" or not path.exists():
        found = read_recipe_of(path)
        return _of_text(found.recipe, visible(path.name), found.folder)
    imported = import_recipe(path)
    text = parse_recipe(to_toml(imported), origin=visible(path.name))
    asked = _of_text(text, f"{visible(path.name)}, {imported.origin}", path.parent)
    return replace(asked, warnings=imported.warnings)


def _of_text(text: RecipeText, origin: str, folder: Path) -> Asked:
    return Asked(fold(text), text, origin, folder)
