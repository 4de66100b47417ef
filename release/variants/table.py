"""Tables of a file of rules: their values by key, each of the type it must have."""

from collections.abc import Collection, Mapping
from typing import Any

from release.errors import RecipeError, visible
from release.formats.toml_text import value_text
from release.recipe.names import suggestion

RULES_HINT = "krelease presets fp8 --toml prints a complete file of rules"


class Table:
    """A table of TOML, whose values are asked for by key.

    Attributes:
        origin: What errors name the file by.
        place: Key path of the table, such as "rule[0]"; empty for the whole file.

    Args:
        values: What the table holds.
        keys: All keys that it may have.

    Raises:
        RecipeError: It has another key; code "rules", as for all its methods.
    """

    def __init__(
        self,
        origin: str,
        place: str,
        *,
        values: Mapping[str, Any],
        keys: Collection[str],
    ) -> None:
        self.origin = origin
        self.place = place
        self._values = values
        for key in values:
            if key not in keys:
                raise self.refusal(key, "unknown key", hint=suggestion(key[:64], keys))

    def refusal(self, key: str, reason: str, *, hint: str = "") -> RecipeError:
        """Return the error about the value at `key`."""
        path = f"{self.place}.{key}" if self.place else key
        return RecipeError(
            f"{visible(self.origin, 1024)}: {visible(path)}: {reason}",
            code="rules",
            hint=hint or RULES_HINT,
        )

    def text(self, key: str) -> str:
        """Return text made safe to show, or "" without the key."""
        value = self._values.get(key, "")
        if not isinstance(value, str):
            raise self.refusal(key, f"got {value_text(value)}, expected text")
        return visible(value)

    def flag(self, key: str) -> bool:
        """Return true or false; false without the key."""
        value = self._values.get(key, False)
        if not isinstance(value, bool):
            raise self.refusal(key, f"got {value_text(value)}, expected true or false")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return one text or the texts of a list; none without the key."""
        if key not in self._values:
            return ()
        value = self._values[key]
        listed = value if isinstance(value, list) else [value]
        wrong = [each for each in listed if not isinstance(each, str) or not each]
        if wrong or not listed:
            got = value_text(wrong[0] if wrong else value)
            raise self.refusal(key, f"got {got}, expected text, or a list of texts")
        return tuple(listed)

    def tables(self, key: str, *, keys: Collection[str]) -> "list[Table]":
        """Return the tables of an array of tables; none without the key."""
        value = self._values.get(key, [])
        listed = value if isinstance(value, list) else [value]
        wrong = [each for each in listed if not isinstance(each, dict)]
        if wrong or listed is not value:
            got = value_text(wrong[0] if wrong else value)
            raise self.refusal(key, f"got {got}, expected tables, each under [[{key}]]")
        return [
            Table(self.origin, f"{key}[{index}]", values=each, keys=keys)
            for index, each in enumerate(listed)
        ]
