"""Foreign JSON and numbers, read strictly and exactly."""

import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Final, TypeAlias

from release.errors import RecipeError, first_names, visible
from release.formats.json_text import JsonFaultError, parse_json_object

TEXT_NBYTES_MAX: Final = 1024 * 1024
"""Bytes of one foreign recipe; real ones have a few thousand."""

Value: TypeAlias = "dict[str, Value] | list[Value] | str | bool | Decimal | None"
"""A parsed value; numbers are exactly as written."""

_NUMBER: Final = re.compile(
    r"[-+]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][-+]?\d{1,3})?", re.ASCII
)
_DECIMALS_MAX: Final = 24
_MAGNITUDE_MAX: Final = 1_000
_DAMAGED: Final = "the metadata was edited or damaged; write the recipe by hand"


def check_size(text: str, *, place: str, nbytes_max: int = TEXT_NBYTES_MAX) -> None:
    """Refuse a text that is too large to be a recipe.

    Raises:
        RecipeError: Code "import-too-large".
    """
    if len(text) > nbytes_max:
        raise RecipeError(
            f"{place}: holds {len(text):,} characters, expected at most {nbytes_max:,}",
            code="import-too-large",
            hint="this is no recipe; real ones have a few thousand characters",
        )


def read_object(text: str, *, place: str) -> dict[str, Value]:
    """Return the members of a JSON object, numbers as exact decimals.

    Args:
        text: Foreign.
        place: Where it was found, for messages.

    Raises:
        RecipeError: Code "import-too-large" or "import-json".
    """
    check_size(text, place=place)
    raw = text.encode("utf-8", "surrogatepass")
    try:
        # The strict reader refuses whatever parsers differ on; the second pass
        # only keeps the numbers as they are written.
        parse_json_object(raw)
    except JsonFaultError as fault:
        raise RecipeError(
            f"{place}: {fault.reason}", code="import-json", hint=_DAMAGED
        ) from fault
    members: dict[str, Value] = json.loads(raw, parse_float=Decimal, parse_int=Decimal)
    return members


def nested_object(value: Value, *, place: str) -> dict[str, Value] | None:
    """Return an object that may also be written as JSON text; None for null.

    Programs that read a header turn values that begin with a brace into objects, and
    write them back either way.

    Raises:
        RecipeError: Code "import-too-large", "import-json" or "import-field".
    """
    if value is None or (isinstance(value, str) and value.strip() in {"", "null"}):
        return None
    if isinstance(value, str):
        return read_object(value, place=place)
    if isinstance(value, dict):
        return value
    raise field_error(place, value, "an object, or JSON text of one")


def exact(value: Value, *, place: str) -> Fraction:
    """Return a number, or the text of one, as the exact fraction it is written as.

    Raises:
        RecipeError: Code "import-number": no number, beyond 1,000, or with more than
            24 decimals.
    """
    text = str(value).strip() if isinstance(value, Decimal | str) else ""
    if not _NUMBER.fullmatch(text):
        raise _number_error(place, value, "a plain number")
    number = Decimal(text)
    if abs(number) > _MAGNITUDE_MAX:
        raise _number_error(place, value, f"a number up to {_MAGNITUDE_MAX:,}")
    fraction = Fraction(number)
    if 10**_DECIMALS_MAX % fraction.denominator:
        expected = f"a number of at most {_DECIMALS_MAX} decimals"
        raise _number_error(place, value, expected)
    return fraction


def rounded(value: Fraction) -> Fraction:
    """Return the nearest decimal of 24 digits, which float64 cannot tell from it."""
    return Fraction(round(value * 10**_DECIMALS_MAX), 10**_DECIMALS_MAX)


class Fields:
    """The members of a foreign object, taken one by one by type.

    Args:
        members: The object.
        place: Its key path, for messages.
    """

    def __init__(self, members: Mapping[str, Value], *, place: str) -> None:
        self._members = members
        self._place = place

    def where(self, key: str) -> str:
        """Return the key path of a member."""
        return f"{self._place}.{key}"

    def has(self, key: str) -> bool:
        """Return whether there is such a member, other than null."""
        return self._members.get(key) is not None

    def value(self, key: str) -> Value:
        """Return a member as it is, None where there is none."""
        return self._members.get(key)

    def text(self, key: str) -> str:
        """Return a text, "" for null or none.

        Raises:
            RecipeError: Code "import-field": it is something else.
        """
        value = self._members.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise field_error(self.where(key), value, "a text")
        return value

    def flag(self, key: str) -> bool:
        """Return a boolean, False for null or none.

        Raises:
            RecipeError: Code "import-field": it is something else.
        """
        value = self._members.get(key)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise field_error(self.where(key), value, "true or false")
        return value

    def number(self, key: str) -> Fraction:
        """Return a number.

        Raises:
            RecipeError: Code "import-number", also where there is none.
        """
        return exact(self._members.get(key), place=self.where(key))

    def unknown(self, known: Iterable[str]) -> tuple[str, ...]:
        """Return a warning about members that are not `known`, or nothing."""
        names = sorted(self._members.keys() - set(known))
        if not names:
            return ()
        return (f"{self._place}: unknown and not heeded: {first_names(names)}",)


def field_error(place: str, value: Value, expected: str) -> RecipeError:
    """Return the error for a value of another type than `expected`."""
    return RecipeError(
        f"{place}: got {_shown(value)}, expected {expected}",
        code="import-field",
        hint=_DAMAGED,
    )


def _number_error(place: str, value: Value, expected: str) -> RecipeError:
    return RecipeError(
        f"{place}: got {_shown(value)}, expected {expected}",
        code="import-number",
        hint="nothing is rounded on import; write the recipe by hand",
    )


def _shown(value: Value) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case dict():
            return "an object"
        case list():
            return f"a list of {len(value)}"
        case _:
            return f"'{visible(value, 60)}'"
