"""From a name or a file to a release definition."""

from pathlib import Path
from typing import TYPE_CHECKING

from release.errors import UsageError

if TYPE_CHECKING:
    from release.definition import Definition


def load(name: str | None, file: Path | None) -> tuple["Definition", Path]:
    """Return the definition, and the folder that its relative paths start from.

    Raises:
        UsageError: Neither a name nor a file is given, or both.
        RecipeError: There is no such release, or its definition is not valid.
    """
    from release.catalog.find import find_definition
    from release.catalog.read import read_definition

    if (name is None) == (file is None):
        raise UsageError(
            "name a release, or a file with --definition: one of the two",
            code="which-release",
            hint="krelease releases lists the catalog",
        )
    if file is not None:
        return read_definition(file), file.parent
    here = Path()
    definition, _ = find_definition(name or "", here)
    return definition, here
