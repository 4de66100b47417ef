"""Finding a definition by its name, in a folder or in the catalog."""

import re
from pathlib import Path

from release.catalog.read import (
    Read,
    parse_any,
    read_definition_text,
    release_of,
)
from release.catalog.texts import (
    SUFFIX,
    catalog_names,
    catalog_source,
    model_names,
)
from release.catalog.trained import TrainedModel
from release.definition import RELEASE_NAME, Definition
from release.errors import RecipeError, visible
from release.recipe.names import nearest


def find_definition(name: str, directory: Path) -> tuple[Definition, str]:
    """Return a release definition and the TOML text it was read from.

    Args:
        name: Release name. `NAME.toml` in `directory` wins over the catalog.
        directory: Where the maker's own definitions are.

    Raises:
        RecipeError: As `find_any`; code "trained-model" for a model without a recipe.
    """
    read = find_any(name, directory)
    return release_of(read), read.text


def find_any(name: str, directory: Path) -> Read:
    """Return a definition of either kind, release or trained model.

    Args:
        name: Its name. `NAME.toml` in `directory` wins over the catalog.
        directory: Where the maker's own definitions are.

    Raises:
        RecipeError: Code "unknown-release"; "definition-name" if the name in the file
            is another; otherwise as `release.catalog.read.read_definition`.
    """
    path = directory / f"{name}{SUFFIX}"
    is_name = re.fullmatch(RELEASE_NAME, name) is not None
    if not (is_name and path.exists()):
        return _in_catalog(name, directory)
    origin = str(path)
    read = parse_any(read_definition_text(path), origin=origin, folder=directory)
    if isinstance(read.value, Definition):
        key, stated = "release.name", read.value.release.name
    else:
        key, stated = "model.name", read.value.model.name
    if stated != name:
        raise RecipeError(
            f"{visible(origin, 1024)}: {key}: got '{stated}', expected '{name}' as in "
            "the file name",
            code="definition-name",
            hint=f"rename the file, or change {key}",
        )
    return read


def catalog_definition(name: str) -> tuple[Definition, str]:
    """Return a release definition of the catalog and its text.

    Args:
        name: One of `release.catalog.texts.catalog_names()`.
    """
    read = _in_catalog(name, None)
    return release_of(read), read.text


def catalog_model(name: str) -> TrainedModel:
    """Return a trained model of the catalog.

    Args:
        name: One of `release.catalog.texts.model_names()`.

    Raises:
        RecipeError: Code "unknown-release": it is no trained model.
    """
    value = _in_catalog(name, None).value
    if isinstance(value, TrainedModel):
        return value
    raise _unknown(name, Path())


def _in_catalog(name: str, directory: Path | None) -> Read:
    """Return a definition of the catalog; `directory` is where else it could be."""
    source = catalog_source(name)
    if source is None:
        raise _unknown(name, directory or Path())
    return parse_any(source.text, origin=source.origin)


def _unknown(name: str, directory: Path) -> RecipeError:
    own = {entry.stem for entry in directory.glob(f"*{SUFFIX}")}
    near = nearest(name, {*own, *catalog_names(), *model_names()})
    question = f"did you mean {visible(near, 64)}? " if near else ""
    return RecipeError(
        f"unknown release '{visible(name, 64)}': it is not in the catalog, and"
        f" {visible(directory, 1024)} has no definition file of that name",
        code="unknown-release",
        hint=f"{question}krelease releases lists them",
    )
