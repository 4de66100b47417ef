"""JSON from strangers, read more strictly than Python's own parser does.

Two programs that read one text must see one value. So everything on which parsers
differ is refused here: repeated keys, NaN, lone surrogates, numbers beyond 64 bits,
deep nesting.

Source:
    RFC 8259.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, NoReturn, TypeAlias

from release.errors import CheckpointError, visible
from release.formats.hints import FAULTY_WRITER
from release.formats.limits import (
    JSON_COMMAS_MAX,
    JSON_DEPTH_MAX,
    JSON_OBJECTS_MAX,
    NUMBER_LENGTH_MAX,
    UINT64_MAX,
)

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | None"
"""A parsed value. A number with sign, fraction or exponent is a float, never an int."""

FaultKind: TypeAlias = Literal[
    "utf8", "json", "too-many-objects", "too-many-values", "duplicate-key"
]

_BLANKS: Final = " \t\r\n"
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_FLOAT_LENGTH_MAX: Final = 400
_FLOAT_MAX: Final = 1e308


class JsonFaultError(Exception):
    """A text that is not accepted; whoever knows where it stands makes an error of it.

    Args:
        kind: What is wrong, one word.
        reason: The same as a predicate, such as "is not UTF-8", safe for a terminal.
    """

    def __init__(self, kind: FaultKind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


def parse_json_object(
    raw: bytes, *, objects_max: int = JSON_OBJECTS_MAX
) -> dict[str, Json]:
    """Return the members of the one JSON object in `raw`.

    Args:
        raw: UTF-8 without a byte order mark; the caller has limited its size.
        objects_max: Objects that it may hold, itself among them.

    Raises:
        JsonFaultError: For anything that two parsers could understand differently.
    """
    text = _decode(raw)
    _check_start(text)
    _check_counts(raw, objects_max)
    members = _load(text)
    _check_tree(members)
    return members


def object_in(
    path: Path, members: Mapping[str, Json], key: str, *, what: str, code: str
) -> dict[str, Json]:
    """Return the object that is the value of `key`.

    Args:
        path: The file, for messages.
        members: A parsed object.
        key: One that it must have.
        what: What the object is, for messages.
        code: Of the error.

    Raises:
        CheckpointError: With `code`, when the key is missing or no object.
    """
    value = members.get(key)
    if not isinstance(value, dict):
        raise CheckpointError(
            path,
            f"{visible(what)}: {visible(key)} is missing or no object",
            code=code,
            hint=FAULTY_WRITER,
        )
    return value


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise JsonFaultError(
            "utf8",
            f"is not UTF-8, got 0x{raw[error.start]:02x} as its byte {error.start:,}",
        ) from None


def _check_start(text: str) -> None:
    begin = text.lstrip(_BLANKS)[:1]
    if begin != "{":
        got = f"{visible(begin)!r}" if begin else "nothing"
        raise _not_json(f"begins with {got}, expected {{")


def _check_counts(raw: bytes, objects_max: int) -> None:
    """Refuse texts with too many values before any object is built for them."""
    if raw.count(b"{") <= objects_max and raw.count(b",") <= JSON_COMMAS_MAX:
        return
    skeleton = _STRING.sub(b"", raw)
    if skeleton.count(b"{") > objects_max:
        raise JsonFaultError(
            "too-many-objects", f"holds more than {objects_max:,} objects"
        )
    n_commas = skeleton.count(b",")
    if n_commas > JSON_COMMAS_MAX:
        raise JsonFaultError(
            "too-many-values",
            f"holds {n_commas:,} values, expected at most {JSON_COMMAS_MAX:,}",
        )


class _Hooks:
    """What Python's parser calls for objects and numbers of one text."""

    def __init__(self) -> None:
        self.duplicate: str | None = None

    def on_object(self, pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        members = dict(pairs)
        if len(members) != len(pairs) and self.duplicate is None:
            counts = Counter(key for key, _ in pairs)
            self.duplicate = counts.most_common(1)[0][0]
        return members

    def on_integer(self, digits: str) -> int | float:
        if len(digits.lstrip("-")) > NUMBER_LENGTH_MAX:
            raise _not_json(f"holds an integer of {len(digits):,} digits")
        if digits.startswith("-"):
            return float(digits)
        value = int(digits)
        if value > UINT64_MAX:
            raise _not_json(f"holds {digits}, expected at most 2^64 - 1")
        return value

    def on_float(self, digits: str) -> float:
        if len(digits) > _FLOAT_LENGTH_MAX or abs(float(digits)) > _FLOAT_MAX:
            raise _not_json(f"holds the number {visible(digits, 40)}")
        return float(digits)

    def on_constant(self, name: str) -> NoReturn:
        raise _not_json(f"holds {name}, which JSON does not know")


def _load(text: str) -> dict[str, Json]:
    hooks = _Hooks()
    decoder = json.JSONDecoder(
        object_pairs_hook=hooks.on_object,
        parse_int=hooks.on_integer,
        parse_float=hooks.on_float,
        parse_constant=hooks.on_constant,
    )
    try:
        members: dict[str, Json] = decoder.decode(text)
    except json.JSONDecodeError as error:
        raise _not_json(f"breaks off at character {error.pos:,}: {error.msg}") from None
    except RecursionError:
        raise _too_deep() from None
    if hooks.duplicate is not None:
        raise JsonFaultError(
            "duplicate-key",
            f"names {visible(hooks.duplicate)} twice in one object, "
            f"expected every key once",
        )
    return members


def _check_tree(members: dict[str, Json]) -> None:
    """Refuse lone surrogates in any string, and nesting beyond the limit."""
    pending: list[tuple[Json, int]] = [(members, 1)]
    while pending:
        node, depth = pending.pop()
        if isinstance(node, str):
            _check_text(node)
        elif isinstance(node, dict):
            for key, value in node.items():
                _check_text(key)
                pending.append((value, depth + 1))
        elif isinstance(node, list):
            pending.extend(
                (item, depth + 1)
                for item in node
                if isinstance(item, str | dict | list)
            )
        if depth > JSON_DEPTH_MAX and isinstance(node, dict | list):
            raise _too_deep()


def _check_text(text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise _not_json(f"holds half of a surrogate pair in {visible(text)}") from None


def _not_json(reason: str) -> JsonFaultError:
    return JsonFaultError("json", f"is not JSON: {reason}")


def _too_deep() -> JsonFaultError:
    return _not_json(f"is nested more than {JSON_DEPTH_MAX} levels deep")
