"""What the tests of imports share: folding what was imported, through a recipe file."""

from collections.abc import Callable
from fractions import Fraction

import pytest

from release.recipe.file import parse_recipe
from release.recipe.fold import fold
from release.recipe.imports.imported import Imported
from release.recipe.imports.to_toml import to_toml

Rows = dict[str, dict[str, Fraction]]


@pytest.fixture(scope="session")
def rows_of() -> Callable[[Imported], Rows]:
    """Cell -> ingredient -> coefficient, of the TOML that an import becomes."""

    def rows(imported: Imported) -> Rows:
        folded = fold(parse_recipe(to_toml(imported), origin="imported.toml"))
        return {cell.label: dict(row) for cell, row in folded.rows.items()}

    return rows
