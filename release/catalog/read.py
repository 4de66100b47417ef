"""Reading a release definition: TOML, validated value by value, then as a whole."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, time
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from release.catalog.checks import definition_problems
from release.catalog.extend import FILE_CODE, FILE_HINT, Source, Stated, state
from release.catalog.texts import SUFFIX, catalog_source
from release.catalog.trained import TRAINED, TrainedModel
from release.definition import (
    PATTERN_MEANINGS,
    RELEASE_NAME,
    Definition,
    folded_recipe,
)
from release.errors import RecipeError, visible
from release.formats.toml_text import read_toml_text, value_text
from release.recipe.problems import Problem, problems_of
from release.validation import refuse

_RELEASE: Final = "release"


@dataclass(frozen=True, slots=True)
class Read:
    """A definition file as it was read.

    Attributes:
        value: What it states, validated and checked.
        text: The file, as it is written.
        stated: The same as one document, with all that it extends.
    """

    value: Definition | TrainedModel
    text: str
    stated: Stated


def read_definition(path: Path) -> Definition:
    """Read, validate and check a definition file.

    Raises:
        RecipeError: Names the file, the key path, what is there and what is allowed.
            Codes "definition-file" (not readable, too large, not TOML), "definition"
            (a value), "definition-extends" (what it extends), "trained-model" (it is
            no release), or those of `release.recipe.fold.fold`.
    """
    text = read_definition_text(path)
    return parse_definition(text, origin=str(path), folder=path.parent)


def read_definition_text(path: Path) -> str:
    """Return the text of a definition file of at most `TOML_NBYTES_MAX`.

    Raises:
        RecipeError: Code "definition-file".
    """
    return read_toml_text(path, code=FILE_CODE, hint=FILE_HINT)


def parse_definition(
    text: str, *, origin: str, folder: Path | None = None
) -> Definition:
    """Validate and check the TOML text of a release definition.

    Args:
        text: TOML. A date may be a TOML date or text.
        origin: What errors name it by, such as its path.
        folder: Where the files lie that it extends and its images; None for the
            catalog alone.

    Raises:
        RecipeError: As `read_definition`.
    """
    return release_of(parse_any(text, origin=origin, folder=folder))


def release_of(read: Read) -> Definition:
    """Return the release that a file defines.

    Raises:
        RecipeError: Code "trained-model": it is a model without a recipe.
    """
    if isinstance(read.value, Definition):
        return read.value
    name = read.value.model.name
    raise RecipeError(
        f"{visible(read.stated.origin, 1024)}: {name} is a trained model, no recipe "
        "leads to it, so it cannot be built",
        code="trained-model",
        hint=f"krelease releases {name} shows what is known of it; a release takes a "
        "file of it as an ingredient",
    )


def parse_any(text: str, *, origin: str, folder: Path | None = None) -> Read:
    """Validate and check a definition of either kind, release or trained model.

    Args:
        text: TOML.
        origin: As in `parse_definition`.
        folder: As in `parse_definition`.

    Raises:
        RecipeError: As `read_definition`.
    """
    stated = state(Source(text, origin), partial(_find, folder))
    kind = stated.document.get("kind", _RELEASE)
    if kind not in (_RELEASE, TRAINED):
        text = f"got {value_text(kind)}, expected '{_RELEASE}' or '{TRAINED}'"
        _refuse(stated, [Problem("kind", text)])
    model = TrainedModel if kind == TRAINED else Definition
    try:
        value = model.model_validate_json(
            json.dumps(stated.document, default=_date_text), strict=True
        )
    except ValidationError as error:
        _refuse(stated, problems_of(error, model, meanings=PATTERN_MEANINGS))
        raise
    if isinstance(value, Definition):
        _check(value, stated, folder)
    return Read(value, text, stated)


def _find(folder: Path | None, name: str, origin: str) -> Source | None:
    """Return the file that `origin` extends: one beside it, or of the catalog.

    A file that is named like the release that it changes means the catalog's.
    """
    if re.fullmatch(RELEASE_NAME, name) is None:
        return None
    path = None if folder is None else folder / f"{name}{SUFFIX}"
    if path is not None and str(path) != origin and path.exists():
        return Source(read_definition_text(path), str(path))
    return catalog_source(name)


def _refuse(stated: Stated, found: Sequence[Problem]) -> None:
    """Raise for the first problem, under the file that its key stands in."""
    if found:
        refuse(stated.origin_of(found[0].key), found)


def _check(definition: Definition, stated: Stated, folder: Path | None) -> None:
    """Check what one value alone cannot show: names, ranges, images and the recipe.

    Raises:
        RecipeError: As `read_definition`.
    """
    _refuse(stated, list(definition_problems(definition, folder)))
    try:
        folded_recipe(definition)
    except RecipeError as error:
        key = str(error).partition(":")[0]
        raise error.within(stated.origin_of(key)) from error


def _date_text(value: object) -> str:
    """Return a TOML date or time as text; `json` calls this for nothing else."""
    if isinstance(value, date | time):
        return value.isoformat()
    raise TypeError(type(value).__name__)
