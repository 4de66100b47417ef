"""Writing TOML, whatever the texts hold: nothing foreign ends a string or a comment."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time
from typing import Any, Final, TypeGuard

from release.errors import visible

_ESCAPES: Final = {
    "\\": "\\\\",
    '"': '\\"',
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\f": "\\f",
    "\r": "\\r",
}
_COMMENT_LENGTH_MAX: Final = 500
_LINE_LENGTH: Final = 88
_BARE: Final = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
)


def toml_comment(text: str) -> str:
    """Return a comment of one line, at most 500 characters of `text` in it."""
    return f"# {visible(text, _COMMENT_LENGTH_MAX)}".rstrip()


def toml_key(name: str) -> str:
    """Return a key, bare where TOML lets it be."""
    return name if name and _BARE.issuperset(name) else toml_value(name)


def toml_value(value: object) -> str:
    """Return a value on one line; what is not printable in a text is escaped.

    Args:
        value: Text, a number, a boolean, a date, a list, or a table of these.
    """
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{"".join(map(_escaped, value))}"'
        case int() | float():
            return str(value)
        case date() | time():
            return value.isoformat()
        case Mapping():
            pairs = (
                f"{toml_key(key)} = {toml_value(each)}" for key, each in value.items()
            )
            return f"{{ {', '.join(pairs)} }}" if value else "{}"
        case Sequence():
            return f"[{', '.join(map(toml_value, value))}]"
        case _:
            raise TypeError(type(value).__name__)


def toml_pair(key: str, value: object) -> list[str]:
    """Return `key = value` as lines: a list that is long for one has one a value."""
    line = f"{toml_key(key)} = {toml_value(value)}"
    if not isinstance(value, list | tuple) or len(line) <= _LINE_LENGTH:
        return [line]
    return [f"{toml_key(key)} = [", *(f"    {toml_value(x)}," for x in value), "]"]


def toml_document(document: Mapping[str, Any]) -> str:
    """Return a whole document: what stands alone, then tables, in the given order."""
    return "\n".join(_table(document, ())).strip("\n") + "\n"


def _table(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """Yield the lines of a table, and below it those of the tables in it."""
    inner: dict[str, Any] = {
        key: value
        for key, value in table.items()
        if isinstance(value, Mapping) or _is_list_of_tables(value)
    }
    for key, value in table.items():
        if key not in inner:
            yield from toml_pair(key, value)
    for key, value in inner.items():
        name = ".".join(map(toml_key, (*path, key)))
        is_one = isinstance(value, Mapping)
        for each in [value] if is_one else value:
            lines = list(_table(each, (*path, key)))
            # The head of a table of tables goes without saying.
            if not (is_one and lines[:1] == [""]):
                yield from ("", f"[{name}]" if is_one else f"[[{name}]]")
            yield from lines


def _is_list_of_tables(value: object) -> TypeGuard[list[Mapping[str, Any]]]:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(each, Mapping) for each in value)
    )


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    return f"\\U{ord(char):08x}"
