"""Definitions that share parts: `extends` names the one whose keys hold as well.

Tables are merged key by key, and the nearer file wins; lists and values replace what
was there. `without` names keys of the extended definition that do not hold, such as
"ingredients.base7".
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from release.errors import RecipeError, visible
from release.formats.toml_text import parse_toml, value_text
from release.recipe.names import nearest

EXTENDS_KEY: Final = "extends"
WITHOUT_KEY: Final = "without"
DEPTH_MAX: Final = 8
"""Files of one chain."""

FILE_CODE: Final = "definition-file"
FILE_HINT: Final = "a definition is a TOML file of at most 1 MiB"
_CODE: Final = "definition-extends"
_WITHOUT_HINT: Final = 'keys are written whole: without = ["ingredients.base7"]'
_HINT: Final = 'extends = "gamma-rev1" names a file beside, or a release of the catalog'


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a definition file.

    Attributes:
        text: TOML.
        origin: What errors name it by, such as its path; no other file has it.
    """

    text: str
    origin: str


Find = Callable[[str, str], Source | None]
"""From what `extends` says, and the origin that says it, to the file; None if none."""


@dataclass(frozen=True, slots=True)
class Stated:
    """What a definition file states, with all that it extends.

    Attributes:
        document: The merged document, without `extends` and `without`.
        origin: The file itself.
        origins: Key path of a value or list -> the file that states it.
        extended: The files that it extends, the nearest first.
    """

    document: dict[str, Any]
    origin: str
    origins: Mapping[str, str]
    extended: tuple[str, ...]

    def origin_of(self, key: str) -> str:
        """Return the file in which a key stands, or should: "recipe.steps.rev2"."""
        while key:
            if key in self.origins:
                return self.origins[key]
            key = key[: max(key.rfind("."), key.rfind("["), 0)]
        return self.origin


def state(source: Source, find: Find) -> Stated:
    """Return what a file states with all that it extends.

    Args:
        source: The file.
        find: Finds what a file extends.

    Raises:
        RecipeError: Code "definition-file": one of the files cannot be read. Code
            "definition-extends": `extends` or `without` is of the wrong type, names
            what is not there, or the chain is a circle or longer than `DEPTH_MAX`.
    """
    chain = _chain(source, find)
    base, _ = chain[-1]
    merged, origins = dict(base), dict.fromkeys(_leaves(base), chain[-1][1])
    for document, origin in reversed(chain[:-1]):
        without = document.pop(WITHOUT_KEY, [])
        for at, key in enumerate(_checked_without(without, origin)):
            _remove(merged, key, where=f"{visible(origin, 1024)}: without[{at}]")
        merged = _merged(merged, document)
        leaves = dict.fromkeys(_leaves(document), origin)
        known = set(_leaves(merged))
        origins = {k: v for k, v in (origins | leaves).items() if k in known}
    extended = tuple(origin for _, origin in chain[1:])
    return Stated(merged, source.origin, origins, extended)


def _chain(source: Source, find: Find) -> list[tuple[dict[str, Any], str]]:
    """Return every document of the chain, the file itself first, and its origin."""
    chain: list[tuple[dict[str, Any], str]] = []
    while True:
        document = parse_toml(
            source.text, origin=source.origin, code=FILE_CODE, hint=FILE_HINT
        )
        chain.append((document, source.origin))
        name = document.pop(EXTENDS_KEY, None)
        if name is None:
            if WITHOUT_KEY in document:
                raise _error(
                    source.origin, "without: there is nothing that the file extends"
                )
            return chain
        found = find(name, source.origin) if isinstance(name, str) else None
        if found is None:
            reason = f"{EXTENDS_KEY}: got {value_text(name)}, expected a definition"
            raise _error(source.origin, f"{reason} that is there")
        passed = [origin for _, origin in chain]
        if found.origin in passed:
            circle = " extends ".join([*passed, found.origin])
            raise _error(source.origin, f"{EXTENDS_KEY}: a circle: {circle}")
        if len(chain) == DEPTH_MAX:
            reason = f"{EXTENDS_KEY}: a chain of more than {DEPTH_MAX} files"
            raise _error(source.origin, reason)
        source = found


def _checked_without(value: object, origin: str) -> Sequence[str]:
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return value
    raise _error(origin, f"without: got {value_text(value)}, expected a list of keys")


def _remove(document: dict[str, Any], key: str, *, where: str) -> None:
    """Take a key out of a document whose tables are its own.

    Raises:
        RecipeError: Code "definition-extends": it is not there.
    """
    *above, last = key.split(".")
    table: Any = document
    for part in above:
        table = table.get(part) if isinstance(table, dict) else None
    if not isinstance(table, dict) or last not in table:
        near = nearest(key, _tables_and_leaves(document))
        raise RecipeError(
            f"{where}: got '{visible(key)}', which what it extends does not state",
            code=_CODE,
            hint=f"did you mean {visible(near)}?" if near else _WITHOUT_HINT,
        )
    del table[last]


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return both tables as one, nothing of it shared with them; `over` wins."""
    result = {key: _copied(value) for key, value in base.items()}
    for key, value in over.items():
        below = result.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            result[key] = _merged(below, value)
        else:
            result[key] = _copied(value)
    return result


def _copied(value: Any) -> Any:  # TOML is any
    return _merged({}, value) if isinstance(value, dict) else value


def _leaves(table: Mapping[str, Any], above: str = "") -> list[str]:
    """Return the key path of every value that is no table."""
    found: list[str] = []
    for key, value in table.items():
        path = f"{above}.{key}" if above else key
        found += _leaves(value, path) if isinstance(value, dict) else [path]
    return found


def _tables_and_leaves(table: Mapping[str, Any], above: str = "") -> list[str]:
    found: list[str] = []
    for key, value in table.items():
        path = f"{above}.{key}" if above else key
        found.append(path)
        found += _tables_and_leaves(value, path) if isinstance(value, dict) else ()
    return found


def _error(origin: str, reason: str) -> RecipeError:
    message = f"{visible(origin, 1024)}: {visible(reason, 2000)}"
    return RecipeError(message, code=_CODE, hint=_HINT)
