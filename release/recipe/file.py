"""Recipe files: a recipe without a release around it, as TOML.

[recipe]
schema = 1
arch = "sdxl"
convention = "supermerger"  # may be left out, like everything below in this table
copy_from = "beta7"
vae = "merge"               # or an ingredient
missing = "error"           # or "keep:INGREDIENT"
accumulate = "fp64"
nonfinite = "error"

[ingredients]
beta7 = { file = "beta7.safetensors", sha256 = "...", hub = "OWNER/REPO@REV/FILE" }

[steps]
rev2 = "beta7 + 0.25 * (base8 - beta7)"

[output]
from = "rev2"
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from release.errors import RecipeError, visible
from release.formats.toml_text import parse_toml, read_toml_text
from release.recipe.conventions import DEFAULT_CONVENTION
from release.recipe.fold import fold
from release.recipe.patterns import MEANINGS, Line, Name, Sha256Hex
from release.recipe.problems import Problem, problems_of, refuse
from release.recipe.text import (
    MERGED_VAE,
    MISSING_ERROR,
    KeyPaths,
    Origin,
    RecipeText,
)

FILE_HINT: Final = "a recipe is a TOML file of at most 1 MiB"

_XXH3: Final = r"^[0-9a-f]{32}$"
_AUTOV2: Final = r"^[0-9a-f]{10}$"
_HUB: Final = (
    r"^(hf://)?(?P<repo>[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*)"
    r"(@(?P<revision>[A-Za-z0-9][A-Za-z0-9_.-]*))?(/(?P<file>[^@\\]+))?$"
)
_MEANINGS: Final = {
    **MEANINGS,
    _XXH3: "32 lower case hex digits",
    _AUTOV2: "10 lower case hex digits",
    _HUB: "OWNER/REPO, OWNER/REPO@REVISION or hf://OWNER/REPO@REVISION/FILE",
}

_KEYS: Final = KeyPaths(steps="steps", output="output.from")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class _Settings(_Table):
    schema_version: Annotated[Literal[1], Field(alias="schema")]
    arch: Literal["sdxl"] = "sdxl"
    convention: str = DEFAULT_CONVENTION
    copy_from: Name | None = None
    vae: Name = MERGED_VAE
    missing: str = MISSING_ERROR
    accumulate: Literal["fp64"] = "fp64"
    nonfinite: Literal["error"] = "error"


class _Ingredient(_Table):
    title: Line | None = None
    file: Line | None = None
    hub: Annotated[str, StringConstraints(pattern=_HUB, max_length=1024)] | None = None
    sha256: Sha256Hex | None = None
    xxh3: Annotated[str, StringConstraints(pattern=_XXH3)] | None = None
    autov2: Annotated[str, StringConstraints(pattern=_AUTOV2)] | None = None


class _Output(_Table):
    source: Annotated[Name, Field(alias="from")]


class _Document(_Table):
    recipe: _Settings
    ingredients: Annotated[dict[Name, _Ingredient], Field(min_length=1)]
    steps: dict[Name, Line] = {}
    output: _Output


def read_recipe(path: Path) -> RecipeText:
    """Read and check a recipe file.

    Raises:
        RecipeError: Names the file, the key path, what is there and what is allowed.
            Codes "recipe-file" (not readable, too large, not TOML), "recipe" (a value),
            or those of `release.recipe.fold.fold`.
    """
    text = read_toml_text(path, code="recipe-file", hint=FILE_HINT)
    return parse_recipe(text, origin=str(path))


def parse_recipe(text: str, *, origin: str) -> RecipeText:
    """Read and check the TOML text of a recipe file.

    Args:
        text: TOML.
        origin: What errors name it by, such as its path.

    Raises:
        RecipeError: As `read_recipe`.
    """
    document = parse_toml(text, origin=origin, code="recipe-file", hint=FILE_HINT)
    try:
        read = _Document.model_validate_json(
            json.dumps(document, default=str), strict=True
        )
    except ValidationError as error:
        problems = problems_of(error, _Document, meanings=_MEANINGS)
        hint = "krelease recipe --help shows what is in a recipe file"
        refuse(origin, problems, code="recipe", hint=hint)
        raise
    hint = "a file on the Hub is named by its path inside the repository"
    refuse(origin, list(_hub_problems(read)), code="recipe", hint=hint)
    recipe = _recipe(read)
    try:
        fold(recipe)
    except RecipeError as error:
        raise error.within(origin) from error
    return recipe


def _hub_problems(document: _Document) -> Iterator[Problem]:
    for name, ingredient in document.ingredients.items():
        file = PurePosixPath(_origin(ingredient).hub_file or "file")
        if file.is_absolute() or ".." in file.parts:
            text = f"got '{visible(file)}', expected a path inside the repository"
            yield Problem(f"ingredients.{name}.hub", text)


def _recipe(document: _Document) -> RecipeText:
    settings = document.recipe
    return RecipeText(
        document.steps,
        document.output.source,
        {name: _origin(each) for name, each in document.ingredients.items()},
        convention=settings.convention,
        copy_from=settings.copy_from or "",
        vae=settings.vae,
        missing=settings.missing,
        keys=_KEYS,
    )


def _origin(ingredient: _Ingredient) -> Origin:
    found = re.fullmatch(_HUB, ingredient.hub) if ingredient.hub else None
    hub = found.groupdict() if found else {}
    return Origin(
        title=ingredient.title or "",
        file=ingredient.file,
        hub=hub.get("repo"),
        revision=hub.get("revision") or "main",
        hub_file=hub.get("file"),
        sha256=ingredient.sha256,
        xxh3=ingredient.xxh3,
        autov2=ingredient.autov2,
    )
