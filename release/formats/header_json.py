"""The JSON of a safetensors header, stricter than Python's own parser.

Two programs that read one header must see one model. So everything on which parsers
differ is refused here: repeated keys, NaN, lone surrogates, numbers beyond 64 bits,
deep nesting, text before the first brace.

Source:
    huggingface/safetensors, README "Format"; RFC 8259 for the grammar.
"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Final, NoReturn, TypeAlias

from release.errors import HeaderError, visible
from release.formats.hints import DAMAGED, FAULTY_WRITER
from release.formats.limits import (
    JSON_COMMAS_MAX,
    JSON_DEPTH_MAX,
    NUMBER_LENGTH_MAX,
    PADDING_NBYTES_WARN,
    TENSORS_MAX,
    UINT64_MAX,
)

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | None"
"""A parsed value. A number with sign, fraction or exponent is a float, never an int."""

_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_FLOAT_LENGTH_MAX: Final = 400
_FLOAT_MAX: Final = 1e308


def parse_header_json(
    path: Path, raw: bytes
) -> tuple[dict[str, Json], tuple[str, ...]]:
    """Return the members of the header's object and the warnings about its padding.

    Args:
        path: The file, for messages.
        raw: The header without its length field.

    Raises:
        HeaderError: `header-utf8`, `header-start`, `header-json`, `too-many-tensors`,
            `too-many-values` or `duplicate-key`.
    """
    body = raw.rstrip(b" \t\r\n")
    text = _decode(path, body)
    _check_start(path, text)
    _check_counts(path, body)
    members = _load(path, text)
    _check_tree(path, members)
    return members, _padding_warnings(raw, len(body))


def _decode(path: Path, body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise HeaderError(
            path,
            f"header is not UTF-8, got byte 0x{body[error.start]:02x} at header byte "
            f"{error.start:,}",
            code="header-utf8",
            hint=DAMAGED,
        ) from None


def _check_start(path: Path, text: str) -> None:
    if text.startswith("{"):
        return
    if text.lstrip(" \t\r\n").startswith("{"):
        n_blanks = len(text) - len(text.lstrip(" \t\r\n"))
        raise HeaderError(
            path,
            f"header begins with {n_blanks:,} blank characters of padding, "
            f"expected {{ first",
            code="header-start",
            hint="padding belongs behind the header's text; save the file again with "
            "the safetensors library",
        )
    got = f"{visible(text[:1])!r}" if text else "nothing"
    raise _not_json(path, f"begins with {got}, expected {{")


def _check_counts(path: Path, body: bytes) -> None:
    """Refuse headers with too many values before any object is built for them."""
    braces_max = TENSORS_MAX + 2
    if body.count(b"{") <= braces_max and body.count(b",") <= JSON_COMMAS_MAX:
        return
    skeleton = _STRING.sub(b"", body)
    if skeleton.count(b"{") > braces_max:
        raise too_many_tensors(path)
    if skeleton.count(b",") > JSON_COMMAS_MAX:
        raise HeaderError(
            path,
            f"header holds {skeleton.count(b','):,} values, "
            f"expected at most {JSON_COMMAS_MAX:,}",
            code="too-many-values",
            hint=FAULTY_WRITER,
        )


def too_many_tensors(path: Path) -> HeaderError:
    """Return the error for a header with more tensors than the limit."""
    return HeaderError(
        path,
        f"header holds more than {TENSORS_MAX:,} tensors",
        code="too-many-tensors",
        hint=FAULTY_WRITER,
    )


class _Hooks:
    """What Python's parser calls for objects and numbers of one header."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.duplicate: str | None = None

    def on_object(self, pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        members = dict(pairs)
        if len(members) != len(pairs) and self.duplicate is None:
            counts = Counter(key for key, _ in pairs)
            self.duplicate = counts.most_common(1)[0][0]
        return members

    def on_integer(self, digits: str) -> int | float:
        if len(digits.lstrip("-")) > NUMBER_LENGTH_MAX:
            raise _not_json(self.path, f"holds an integer of {len(digits):,} digits")
        if digits.startswith("-"):
            return float(digits)
        value = int(digits)
        if value > UINT64_MAX:
            raise _not_json(self.path, f"holds {digits}, expected at most 2^64 - 1")
        return value

    def on_float(self, digits: str) -> float:
        if len(digits) > _FLOAT_LENGTH_MAX or abs(float(digits)) > _FLOAT_MAX:
            raise _not_json(self.path, f"holds the number {visible(digits, 40)}")
        return float(digits)

    def on_constant(self, name: str) -> NoReturn:
        raise _not_json(self.path, f"holds {name}, which JSON does not know")


def _load(path: Path, text: str) -> dict[str, Json]:
    hooks = _Hooks(path)
    decoder = json.JSONDecoder(
        object_pairs_hook=hooks.on_object,
        parse_int=hooks.on_integer,
        parse_float=hooks.on_float,
        parse_constant=hooks.on_constant,
    )
    try:
        members: dict[str, Json] = decoder.decode(text)
    except json.JSONDecodeError as error:
        raise _not_json(
            path, f"breaks off at character {error.pos:,}: {error.msg}"
        ) from None
    except RecursionError:
        raise _too_deep(path) from None
    if hooks.duplicate is not None:
        raise HeaderError(
            path,
            f"header names {visible(hooks.duplicate)} twice in one object, "
            f"expected every key once",
            code="duplicate-key",
            hint=FAULTY_WRITER,
        )
    return members


def _check_tree(path: Path, members: dict[str, Json]) -> None:
    """Refuse lone surrogates in any string, and nesting beyond the limit."""
    pending: list[tuple[Json, int]] = [(members, 1)]
    while pending:
        node, depth = pending.pop()
        if isinstance(node, str):
            _check_text(path, node)
        elif isinstance(node, dict):
            for key, value in node.items():
                _check_text(path, key)
                pending.append((value, depth + 1))
        elif isinstance(node, list):
            pending.extend(
                (item, depth + 1)
                for item in node
                if isinstance(item, str | dict | list)
            )
        if depth > JSON_DEPTH_MAX and isinstance(node, dict | list):
            raise _too_deep(path)


def _check_text(path: Path, text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise _not_json(
            path, f"holds half of a surrogate pair in {visible(text)}"
        ) from None


def _padding_warnings(raw: bytes, body_nbytes: int) -> tuple[str, ...]:
    n_padding = len(raw) - body_nbytes
    odd = any(raw.find(char, body_nbytes) >= 0 for char in (b"\t", b"\r", b"\n"))
    if odd or n_padding > PADDING_NBYTES_WARN:
        kind = "not all of them spaces" if odd else "all of them spaces"
        return (f"header-padding: {n_padding:,} bytes follow the text, {kind}",)
    return ()


def _not_json(path: Path, reason: str) -> HeaderError:
    return HeaderError(
        path, f"header is not JSON: {reason}", code="header-json", hint=DAMAGED
    )


def _too_deep(path: Path) -> HeaderError:
    return _not_json(path, f"is nested more than {JSON_DEPTH_MAX} levels deep")
