"""The release definition: what a maker states about a release, as validated data.

A definition is a TOML file. It holds what cannot be measured: the recipe, where the
ingredients come from, the licence, the guidance for users. Everything measurable is in
the manifest (`release.manifest`) instead.
"""

import json
import math
import tomllib
from collections.abc import Iterator
from datetime import date, time
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
from release.recipe.names import suggestion
from release.recipe.rows import LinearRecipe, fold
from release.validation import Problem, problems_of, refuse
from release.variants import PRESETS

MAX_DEFINITION_NBYTES: Final = 1024 * 1024
MERGED_VAE: Final = "merge"
"""What `recipe.vae` says when the VAE is merged like the rest."""

_NAME: Final = r"^[A-Za-z][A-Za-z0-9_]{0,63}$"
_RELEASE_NAME: Final = r"^[a-z0-9][a-z0-9.-]{0,63}$"
_FILE_STEM: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
_HUB_ID: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9][A-Za-z0-9_.-]{0,95}$"
_SHA256: Final = r"^[0-9a-f]{64}$"
_LINE: Final = r"^[^\r\n]+$"
_DATE: Final = r"^\d{4}-\d{2}-\d{2}$"

_MEANINGS: Final = {
    _NAME: "a letter, then up to 63 letters, digits and underscores",
    _RELEASE_NAME: "up to 64 lower case letters, digits, dots and hyphens",
    _FILE_STEM: "up to 128 letters, digits, dots, hyphens and underscores",
    _HUB_ID: "a Hub repository as owner/name",
    _SHA256: "64 lower case hex digits",
    _LINE: "one line that is not empty",
    _DATE: "a date as YYYY-MM-DD",
}

Name = Annotated[str, StringConstraints(pattern=_NAME)]
ReleaseName = Annotated[str, StringConstraints(pattern=_RELEASE_NAME)]
FileStem = Annotated[str, StringConstraints(pattern=_FILE_STEM)]
HubId = Annotated[str, StringConstraints(pattern=_HUB_ID)]
Sha256Hex = Annotated[str, StringConstraints(pattern=_SHA256)]
Line = Annotated[str, StringConstraints(pattern=_LINE, max_length=2000)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Identity(_Table):
    """Table `[release]`: names and addresses.

    `tag` is the git tag on the Hub; `file_stem` is what every checkpoint file name
    starts with.
    """

    name: ReleaseName
    title: Line
    summary: Line
    author: Line
    file_stem: FileStem
    tag: FileStem
    repo: HubId
    architecture: Literal["sdxl"]
    variants: Annotated[tuple[str, ...], Field(min_length=1)]
    archives: tuple[str, ...] = ()
    """Variants that are also published as a zip with the licence text inside."""
    date: Annotated[str, StringConstraints(pattern=_DATE)] | None = None


class Recipe(_Table):
    """Table `[recipe]`: the merge, as named steps of one expression each.

    `output` names the step (or ingredient) that is the result. `copy_from` names the
    ingredient that integer buffers, markers and schedule buffers are copied from; `vae`
    is "merge" or the ingredient whose VAE is copied.
    """

    steps: dict[Name, Line] = {}
    output: Name
    convention: str
    copy_from: Name
    vae: str = MERGED_VAE


class IngredientSource(_Table):
    """Table `[ingredients.NAME]`: what an ingredient is and where it is found."""

    title: Line
    path: str | None = None
    hub: HubId | None = None
    revision: Line = "main"
    file: Line | None = None
    sha256: Sha256Hex | None = None
    licence: Line | None = None
    facts: tuple[Line, ...] = ()


class Licence(_Table):
    """Table `[licence]`: the licence of the release.

    `name` is a canonical name that `release.card.licences` knows the text of.
    """

    name: Line
    link: Line
    notices: tuple[Line, ...] = ()


class TagRow(_Table):
    """One row of a tag table: `tag` exactly as the model was trained to read it."""

    meaning: Line
    tag: Line


class TagTable(_Table):
    """Table `[[tag_tables]]`: one vocabulary, in the order the maker gives."""

    name: Line
    order: Line
    rows: Annotated[tuple[TagRow, ...], Field(min_length=1)]


class Usage(_Table):
    """Table `[usage]`: how images are made with the release."""

    min_pixels: Annotated[int, Field(gt=0)]
    max_pixels: Annotated[int, Field(gt=0)]
    training_resolution: Line
    cfg_min: Annotated[float, Field(gt=0)]
    cfg_max: Annotated[float, Field(gt=0)]
    sampler: Line
    prompt_format: Line
    example_prompt: Line
    example_negative_prompt: Line = ""
    fp8_note: Line | None = None
    notes: tuple[Line, ...] = ()


class KnownIssue(_Table):
    """Table `[[known_issues]]`: a defect and what to do about it."""

    issue: Line
    workaround: Line


class KnownBadFile(_Table):
    """Table `[[known_bad]]`: a published file that must not be used."""

    file: Line
    reason: Line
    sha256: Sha256Hex | None = None


class CardFacts(_Table):
    """Table `[card]`: what the Hub shows and searches by."""

    language: tuple[Line, ...] = ("en",)
    datasets: tuple[HubId, ...] = ()
    tags: tuple[Line, ...] = ()
    introduction: tuple[Line, ...] = ()
    why: tuple[Line, ...] = ()
    """Why the merge was made this way; one paragraph each."""
    not_for_all_audiences: bool = False


class Definition(_Table):
    """A whole definition file, schema 1."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    release: Identity
    recipe: Recipe
    ingredients: Annotated[dict[Name, IngredientSource], Field(min_length=1)]
    licence: Licence
    usage: Usage
    tag_tables: tuple[TagTable, ...] = ()
    known_issues: tuple[KnownIssue, ...] = ()
    known_bad: tuple[KnownBadFile, ...] = ()
    card: CardFacts = CardFacts()


def read_definition(path: Path) -> Definition:
    """Read, validate and check a definition file.

    Raises:
        RecipeError: Names the file, the key path, what is there and what is allowed.
            Codes "definition-file" (not readable, too large, not TOML), "definition"
            (a value), or those of `release.recipe.rows.fold`.
    """
    return parse_definition(read_definition_text(path), origin=str(path))


def read_definition_text(path: Path) -> str:
    """Return the text of a definition file of at most `MAX_DEFINITION_NBYTES`.

    Raises:
        RecipeError: Code "definition-file".
    """
    try:
        if not path.is_file():
            raise _file_error(str(path), "is not a file")
        with path.open("rb") as file:
            content = file.read(MAX_DEFINITION_NBYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise _file_error(str(path), error.strerror or "cannot be read") from error
    except UnicodeDecodeError as error:
        raise _file_error(str(path), f"is not UTF-8 at byte {error.start}") from error
    if len(content) > MAX_DEFINITION_NBYTES:
        raise _file_error(str(path), f"is over {MAX_DEFINITION_NBYTES:,} bytes")
    return text


def parse_definition(text: str, *, origin: str) -> Definition:
    """Validate and check the TOML text of a definition.

    A date may be a TOML date or text.

    Args:
        text: TOML.
        origin: What errors name it by, such as its path.

    Raises:
        RecipeError: As `read_definition`.
    """
    try:
        document = json.dumps(tomllib.loads(text), default=_date_text)
    except RecursionError as error:
        raise _file_error(origin, "is nested too deeply") from error
    except ValueError as error:
        raise _file_error(origin, f"is not TOML: {visible(error)}") from error
    try:
        definition = Definition.model_validate_json(document, strict=True)
    except ValidationError as error:
        refuse(origin, problems_of(error, Definition, meanings=_MEANINGS))
        raise
    check_definition(definition, origin=origin)
    return definition


def check_definition(definition: Definition, *, origin: str) -> None:
    """Check what one value alone cannot show: names, ranges and the recipe.

    Raises:
        RecipeError: As `read_definition`.
    """
    refuse(origin, list(_problems(definition)))
    try:
        linear_recipe(definition)
    except RecipeError as error:
        raise RecipeError(
            f"{visible(origin, 1024)}: {error}", code=error.code, hint=error.hint
        ) from error


def linear_recipe(definition: Definition) -> LinearRecipe:
    """Return the definition's recipe as one row of coefficients per block.

    Raises:
        RecipeError: As `release.recipe.rows.fold`.
    """
    recipe = definition.recipe
    return fold(
        recipe.steps,
        recipe.output,
        convention=recipe.convention,
        ingredient_names=definition.ingredients,
        copied_from={recipe.copy_from, recipe.vae},
    )


def _problems(definition: Definition) -> Iterator[Problem]:
    yield from _variant_problems(definition.release)
    yield from _ingredient_problems(definition)
    usage = definition.usage
    if usage.min_pixels > usage.max_pixels:
        text = f"{usage.min_pixels:,} is above max_pixels, {usage.max_pixels:,}"
        yield Problem("usage.min_pixels", text)
    if usage.cfg_min > usage.cfg_max or not math.isfinite(usage.cfg_max):
        text = f"{usage.cfg_min}..{usage.cfg_max} is not a range"
        yield Problem("usage.cfg_min", text)


def _variant_problems(release: Identity) -> Iterator[Problem]:
    for index, variant in enumerate(release.variants):
        key = f"release.variants[{index}]"
        if variant not in PRESETS:
            hint = suggestion(variant, PRESETS)
            yield Problem(key, f"unknown variant '{visible(variant)}'; {hint}")
        elif variant in release.variants[:index]:
            yield Problem(key, f"'{variant}' is listed twice")
    for index, variant in enumerate(release.archives):
        if variant not in release.variants:
            text = f"'{visible(variant)}' is not one of release.variants"
            yield Problem(f"release.archives[{index}]", text)


def _ingredient_problems(definition: Definition) -> Iterator[Problem]:
    names = definition.ingredients.keys()
    recipe = definition.recipe
    for key, name, others in (
        ("recipe.copy_from", recipe.copy_from, ()),
        ("recipe.vae", recipe.vae, (MERGED_VAE,)),
    ):
        if name not in {*names, *others}:
            hint = suggestion(name, {*names, *others})
            yield Problem(key, f"unknown ingredient '{visible(name)}'; {hint}")
    for name, source in definition.ingredients.items():
        if name == MERGED_VAE:
            yield Problem(f"ingredients.{name}", "this name means the merged VAE")
        file = PurePosixPath(source.file or "file")
        if file.is_absolute() or ".." in file.parts or "\\" in str(file):
            text = f"got '{visible(file)}', expected a path inside the repository"
            yield Problem(f"ingredients.{name}.file", text)


def _date_text(value: object) -> str:
    """Return a TOML date or time as text; `json` calls this for nothing else."""
    if isinstance(value, date | time):
        return value.isoformat()
    raise TypeError(type(value).__name__)


def _file_error(origin: str, reason: str) -> RecipeError:
    return RecipeError(
        f"{visible(origin, 1024)}: {reason}",
        code="definition-file",
        hint="a definition is a TOML file of at most 1 MiB",
    )
