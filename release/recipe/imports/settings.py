"""Settings of mergekit: numbers, or numbers for tensors whose names hold a text.

Source:
    mergekit 0.1.5, `config.py` and `parameter_resolver.py`: the first entry that fits
    a name wins; where none does, the setting of the next wider scope is asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Final

from release.architecture.sdxl import is_copied, sdxl_tensors
from release.errors import RecipeError, visible
from release.recipe.cells import Cell
from release.recipe.conventions import SD_MECHA
from release.recipe.imports.foreign import exact
from release.recipe.imports.yaml_text import Yaml

_ENTRIES_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Setting:
    """A number for each tensor, as one scope gives it.

    Attributes:
        place: Its key path.
        entries: (filter, number), in order; the filter "" fits every name.
    """

    place: str
    entries: tuple[tuple[str, Fraction], ...]

    def of(self, tensor_name: str) -> Fraction | None:
        """Return the number of a tensor, None where no entry fits."""
        for text, value in self.entries:
            if text in tensor_name:
                return value
        return None


def read_setting(value: Yaml, *, place: str) -> Setting | None:
    """Return a setting, None where there is none.

    Raises:
        RecipeError: Code "import-setting": a gradient over layers, or no setting at
            all. Code "import-number".
    """
    if value is None:
        return None
    if isinstance(value, str):
        return Setting(place, (("", exact(value, place=place)),))
    entries = [value] if isinstance(value, dict) else value
    if not isinstance(entries, list) or not entries or len(entries) > _ENTRIES_MAX:
        raise _error(place, "expected a number, or entries of value and filter")
    if not all(isinstance(entry, dict) for entry in entries):
        raise _error(place, "is a gradient over layers, which SDXL does not have")
    return Setting(
        place,
        tuple(
            _entry(entry, place=f"{place}[{index}]")
            for index, entry in enumerate(entries)
            if isinstance(entry, dict)
        ),
    )


def _entry(entry: Mapping[str, Yaml], *, place: str) -> tuple[str, Fraction]:
    for key in entry.keys() - {"value", "filter"}:
        raise _error(place, f"unknown key {visible(key, 40)}")
    text = entry.get("filter")
    if not isinstance(text, str | None):
        raise _error(place, "expected a text as filter")
    value = entry.get("value")
    if isinstance(value, list):
        raise _error(place, "is a gradient over layers, which SDXL does not have")
    if not isinstance(value, str):
        raise _error(place, "expected a number as value")
    number = exact(value, place=f"{place}.value")
    return "" if text in {None, "*"} else str(text), number


def by_cell(
    scopes: Sequence[Setting | None], *, default: Fraction | None, place: str
) -> dict[Cell, Fraction]:
    """Return the number of every cell of the convention "sd-mecha".

    Args:
        scopes: Settings, the narrowest first.
        default: Number of tensors that no setting has one for; None if it is needed.
        place: What errors name the setting by.

    Raises:
        RecipeError: Code "import-filter": tensors of one cell have different numbers.
            Code "import-setting": a tensor has none.
    """
    found: dict[Cell, tuple[str, Fraction]] = {}
    present = [scope for scope in scopes if scope is not None]
    for name, cell in _merged_tensors():
        numbers = (scope.of(name) for scope in present)
        value = next((each for each in numbers if each is not None), default)
        if value is None:
            raise _error(place, f"gives no number for {name}")
        first, known = found.setdefault(cell, (name, value))
        if known != value:
            raise RecipeError(
                f"{place}: gives {first} and {name} different numbers, but both are in"
                f" {cell.label}, which has one in a recipe",
                code="import-filter",
                hint="only filters that choose whole blocks are imported, such as"
                " input_blocks.4.",
            )
    first_value = next(iter(found.values()))[1]
    return {cell: found.get(cell, ("", first_value))[1] for cell in SD_MECHA.cells}


@cache
def _merged_tensors() -> tuple[tuple[str, Cell], ...]:
    """Return the tensors that are merged, text encoders first, with their cells."""
    return tuple(
        (tensor.name, SD_MECHA.cell_of(tensor.name))
        for tensor in sdxl_tensors()
        if not is_copied(tensor.name, tensor.dtype)
    )


def _error(place: str, reason: str) -> RecipeError:
    return RecipeError(
        f"{place}: {reason}",
        code="import-setting",
        hint="mergekit's documentation shows what a setting may be",
    )
