"""Reading a release definition: TOML, validated value by value, then as a whole."""

import json
import math
from collections.abc import Iterator, Sequence
from datetime import date, time
from pathlib import Path, PurePosixPath
from typing import Final

from pydantic import ValidationError

from release.definition import (
    PATTERN_MEANINGS,
    Definition,
    Identity,
    folded_recipe,
)
from release.errors import RecipeError, visible
from release.formats.toml_text import parse_toml, read_toml_text
from release.recipe.names import suggestion
from release.recipe.problems import Problem, problems_of
from release.validation import refuse
from release.variants.preset import PRESET_NAMES

_FILE_HINT: Final = "a definition is a TOML file of at most 1 MiB"


def read_definition(path: Path) -> Definition:
    """Read, validate and check a definition file.

    Raises:
        RecipeError: Names the file, the key path, what is there and what is allowed.
            Codes "definition-file" (not readable, too large, not TOML), "definition"
            (a value), or those of `release.recipe.fold.fold`.
    """
    return parse_definition(read_definition_text(path), origin=str(path))


def read_definition_text(path: Path) -> str:
    """Return the text of a definition file of at most `TOML_NBYTES_MAX`.

    Raises:
        RecipeError: Code "definition-file".
    """
    return read_toml_text(path, code="definition-file", hint=_FILE_HINT)


def parse_definition(text: str, *, origin: str) -> Definition:
    """Validate and check the TOML text of a definition.

    A date may be a TOML date or text.

    Args:
        text: TOML.
        origin: What errors name it by, such as its path.

    Raises:
        RecipeError: As `read_definition`.
    """
    document = parse_toml(text, origin=origin, code="definition-file", hint=_FILE_HINT)
    try:
        definition = Definition.model_validate_json(
            json.dumps(document, default=_date_text), strict=True
        )
    except ValidationError as error:
        refuse(origin, problems_of(error, Definition, meanings=PATTERN_MEANINGS))
        raise
    _check(definition, origin=origin)
    return definition


def _check(definition: Definition, *, origin: str) -> None:
    """Check what one value alone cannot show: names, ranges and the recipe.

    Raises:
        RecipeError: As `read_definition`.
    """
    refuse(origin, list(_problems(definition)))
    try:
        folded_recipe(definition)
    except RecipeError as error:
        raise error.within(origin) from error


def _problems(definition: Definition) -> Iterator[Problem]:
    yield from _variant_problems(definition.release)
    yield from _ingredient_problems(definition)
    yield from _tag_problems(definition)
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
        if variant not in PRESET_NAMES:
            hint = suggestion(variant, PRESET_NAMES)
            yield Problem(key, f"unknown variant '{visible(variant)}'; {hint}")
        elif variant in release.variants[:index]:
            yield Problem(key, f"'{variant}' is listed twice")
    for index, variant in enumerate(release.archives):
        if variant not in release.variants:
            text = f"'{visible(variant)}' is not one of release.variants"
            yield Problem(f"release.archives[{index}]", text)


def _ingredient_problems(definition: Definition) -> Iterator[Problem]:
    for name, source in definition.ingredients.items():
        file = PurePosixPath(source.file or "file")
        if file.is_absolute() or ".." in file.parts or "\\" in str(file):
            text = f"got '{visible(file)}', expected a path inside the repository"
            yield Problem(f"ingredients.{name}.file", text)


def _tag_problems(definition: Definition) -> Iterator[Problem]:
    yield from _repeated("card.tags", definition.card.tags)
    for number, table in enumerate(definition.tag_tables):
        key = f"tag_tables[{number}].rows"
        yield from _repeated(key, [row.tag for row in table.rows])
        others = [at for at, row in enumerate(table.rows) if row.other is not None]
        if others and table.other is None:
            text = f"of which vocabulary? tag_tables[{number}].other names it"
            yield Problem(f"{key}[{others[0]}].other", text)


def _repeated(key: str, tags: Sequence[str]) -> Iterator[Problem]:
    for index, tag in enumerate(tags):
        if tag in tags[:index]:
            yield Problem(f"{key}[{index}]", f"tag '{visible(tag)}' is there twice")


def _date_text(value: object) -> str:
    """Return a TOML date or time as text; `json` calls this for nothing else."""
    if isinstance(value, date | time):
        return value.isoformat()
    raise TypeError(type(value).__name__)
