"""Finding a release definition by its name, in a folder or in the catalog."""

import re
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from release.catalog.read import parse_definition, read_definition_text
from release.definition import RELEASE_NAME, Definition
from release.errors import RecipeError, visible
from release.recipe.names import nearest

_SUFFIX: Final = ".toml"


def catalog_names() -> tuple[str, ...]:
    """Return the names of the catalog's releases, sorted."""
    return tuple(
        sorted(
            entry.name.removesuffix(_SUFFIX)
            for entry in _catalog().iterdir()
            if entry.name.endswith(_SUFFIX)
        )
    )


def find_definition(name: str, directory: Path) -> tuple[Definition, str]:
    """Return a release definition and the TOML text it was read from.

    Args:
        name: Release name. `NAME.toml` in `directory` wins over the catalog.
        directory: Where the maker's own definitions are.

    Raises:
        RecipeError: Code "unknown-release"; "definition-name" if the file's own
            `release.name` is another; otherwise as
            `release.catalog.read.read_definition`.
    """
    path = directory / f"{name}{_SUFFIX}"
    is_name = re.fullmatch(RELEASE_NAME, name) is not None
    if is_name and path.exists():
        text, origin = read_definition_text(path), str(path)
    elif name in catalog_names():
        return catalog_definition(name)
    else:
        raise _unknown(name, directory)
    definition = parse_definition(text, origin=origin)
    if definition.release.name != name:
        raise RecipeError(
            f"{visible(origin, 1024)}: release.name: got '{definition.release.name}',"
            f" expected '{name}' as in the file name",
            code="definition-name",
            hint="rename the file, or change release.name",
        )
    return definition, text


def catalog_definition(name: str) -> tuple[Definition, str]:
    """Return a release definition of the catalog and its text.

    Args:
        name: One of `catalog_names()`.
    """
    text = (_catalog() / f"{name}{_SUFFIX}").read_text(encoding="utf-8")
    return parse_definition(text, origin=f"catalog {name}"), text


def _unknown(name: str, directory: Path) -> RecipeError:
    own = {entry.stem for entry in directory.glob(f"*{_SUFFIX}")}
    near = nearest(name, {*own, *catalog_names()})
    question = f"did you mean {visible(near, 64)}? " if near else ""
    return RecipeError(
        f"unknown release '{visible(name, 64)}': it is not in the catalog, and"
        f" {visible(directory, 1024)} has no definition file of that name",
        code="unknown-release",
        hint=f"{question}krelease releases lists them",
    )


def _catalog() -> Traversable:
    return resources.files("release.catalog")
