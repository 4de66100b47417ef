"""From the header's JSON to metadata and tensor entries: every field, every type.

Source:
    huggingface/safetensors, README "Format".
"""

import json
import unicodedata
from pathlib import Path
from typing import Final

from release.errors import DtypeError, HeaderError, ShapeError, first_names, visible
from release.formats.header_json import too_many_tensors
from release.formats.hints import FAULTY_WRITER
from release.formats.json_text import Json
from release.formats.limits import (
    METADATA_NBYTES_MAX,
    METADATA_NBYTES_WARN,
    NAME_NBYTES_MAX,
    RANK_MAX,
    RANK_WARN,
    TENSORS_MAX,
    UNKNOWN_FIELD_NBYTES_MAX,
)
from release.formats.tensor import TensorEntry
from release.numeric.dtype import BY_CODE, Dtype

METADATA_KEY: Final = "__metadata__"
"""The key of the header that is not a tensor."""

_FIELDS: Final = ("dtype", "shape", "data_offsets")
_ODD_CATEGORIES: Final = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def parse_metadata(
    path: Path, members: dict[str, Json]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the metadata of a header and the warnings about it.

    Raises:
        HeaderError: `metadata` when it is not an object of strings, `metadata-size`
            when it is larger than 8 MiB.
    """
    if METADATA_KEY not in members:
        return {}, ()
    value = members[METADATA_KEY]
    if not isinstance(value, dict):
        raise HeaderError(
            path,
            f"{METADATA_KEY} is {_kind(value)}, expected an object of strings",
            code="metadata",
            hint=FAULTY_WRITER,
        )
    metadata: dict[str, str] = {}
    for key, text in value.items():
        if not isinstance(text, str):
            raise HeaderError(
                path,
                f"{METADATA_KEY} key {visible(key)} is {_kind(text)}, "
                f"expected a string",
                code="metadata",
                hint=FAULTY_WRITER,
            )
        metadata[key] = text
    return metadata, _metadata_warnings(path, metadata)


def metadata_nbytes(metadata: dict[str, str]) -> int:
    """Return the bytes of all keys and values in UTF-8."""
    return sum(len(text.encode()) for pair in metadata.items() for text in pair)


def _metadata_warnings(path: Path, metadata: dict[str, str]) -> tuple[str, ...]:
    nbytes = metadata_nbytes(metadata)
    if nbytes > METADATA_NBYTES_MAX:
        raise HeaderError(
            path,
            f"metadata is {nbytes:,} bytes, expected at most {METADATA_NBYTES_MAX:,}",
            code="metadata-size",
            hint=FAULTY_WRITER,
        )
    if nbytes > METADATA_NBYTES_WARN:
        return (f"metadata-size: metadata is {nbytes:,} bytes",)
    return ()


def parse_entries(
    path: Path, members: dict[str, Json]
) -> tuple[list[TensorEntry], tuple[str, ...]]:
    """Return one entry per tensor in header order, and the warnings about them.

    Byte ranges are only known to be integers of at most 64 bits; where they lie is
    checked by `header_layout`.

    Raises:
        HeaderError: `too-many-tensors`, `name-length`, `tensor-entry` or
            `unknown-field`.
        DtypeError: `dtype`.
        ShapeError: `rank`.
    """
    names = [name for name in members if name != METADATA_KEY]
    if len(names) > TENSORS_MAX:
        raise too_many_tensors(path)
    for name in names:
        _check_name_length(path, name)
    entries = [_entry(path, name, members[name]) for name in names]
    with_unknown = [name for name in names if _has_unknown_field(members[name])]
    return entries, _entry_warnings(entries, with_unknown)


def _check_name_length(path: Path, name: str) -> None:
    nbytes = len(name.encode())
    if nbytes > NAME_NBYTES_MAX:
        raise HeaderError(
            path,
            f"tensor {visible(name, 40)}: name of {nbytes:,} bytes, "
            f"expected at most {NAME_NBYTES_MAX:,}",
            code="name-length",
            hint=FAULTY_WRITER,
        )


def _entry(path: Path, name: str, value: Json) -> TensorEntry:
    if not isinstance(value, dict):
        raise _bad_entry(path, name, f"is {_kind(value)}, expected an object")
    missing = [field for field in _FIELDS if field not in value]
    if missing:
        raise _bad_entry(path, name, f"lacks {', '.join(missing)}")
    _check_unknown_fields(path, name, value)
    dtype = _dtype(path, name, value["dtype"])
    shape = _integers(path, name, "shape", value["shape"])
    offsets = _integers(path, name, "data_offsets", value["data_offsets"])
    if len(offsets) != 2:
        raise _bad_entry(
            path, name, f"data_offsets holds {len(offsets):,} numbers, expected 2"
        )
    if len(shape) > RANK_MAX:
        raise ShapeError(
            path,
            f"tensor {visible(name)}: {len(shape):,} dimensions, "
            f"expected at most {RANK_MAX:,}",
            code="rank",
            hint=FAULTY_WRITER,
        )
    return TensorEntry(name, dtype, shape, offsets[0], offsets[1])


def _check_unknown_fields(path: Path, name: str, entry: dict[str, Json]) -> None:
    unknown = {key: value for key, value in entry.items() if key not in _FIELDS}
    if not unknown:
        return
    text = json.dumps(unknown, ensure_ascii=False, separators=(",", ":"))
    nbytes = len(text.encode())
    if nbytes > UNKNOWN_FIELD_NBYTES_MAX:
        raise HeaderError(
            path,
            f"tensor {visible(name)}: unknown field {first_names(list(unknown))} of "
            f"{nbytes:,} bytes, expected at most {UNKNOWN_FIELD_NBYTES_MAX:,}",
            code="unknown-field",
            hint=FAULTY_WRITER,
        )


def _has_unknown_field(value: Json) -> bool:
    return isinstance(value, dict) and len(value) > len(_FIELDS)


def _dtype(path: Path, name: str, code: Json) -> Dtype:
    if isinstance(code, str) and code in BY_CODE:
        return BY_CODE[code]
    got = visible(code, 40) if isinstance(code, str) else _kind(code)
    raise DtypeError(
        path,
        f"tensor {visible(name)}: dtype is {got}, expected one of {', '.join(BY_CODE)}",
        code="dtype",
        hint="the file may need a newer version of this program; otherwise have its "
        "author save it again with the safetensors library",
    )


def _integers(path: Path, name: str, field: str, value: Json) -> tuple[int, ...]:
    """Return a list of plain integers; `type` is asked since True is an int too."""
    if not isinstance(value, list):
        raise _bad_entry(path, name, f"{field} is {_kind(value)}, expected a list")
    numbers = tuple(item for item in value if type(item) is int)
    if len(numbers) != len(value):
        odd = next(item for item in value if type(item) is not int)
        raise _bad_entry(
            path, name, f"{field} holds {_kind(odd)}, expected non-negative integers"
        )
    return numbers


def _bad_entry(path: Path, name: str, reason: str) -> HeaderError:
    return HeaderError(
        path,
        f"tensor {visible(name)}: {reason}",
        code="tensor-entry",
        hint=FAULTY_WRITER,
    )


def _kind(value: Json) -> str:
    """Return what a JSON value is, in words."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            return f"the string {visible(value, 40)!r}"
        case int() | float():
            return f"the number {value}"
        case list():
            return "an array"
        case dict():
            return "an object"


def _entry_warnings(
    entries: list[TensorEntry], with_unknown: list[str]
) -> tuple[str, ...]:
    """Return one line per kind of oddity, however many tensors share it."""
    names = [entry.name for entry in entries]
    findings = (
        ("name", "empty, or with invisible characters", _odd_names(names)),
        ("confusable-names", "equal after Unicode normalisation", _confusable(names)),
        (
            "rank",
            f"more than {RANK_WARN} dimensions",
            [entry.name for entry in entries if len(entry.shape) > RANK_WARN],
        ),
        ("unknown-field", "with fields the format does not know", with_unknown),
    )
    return tuple(
        f"{code}: {len(found):,} tensors {text}: {first_names(found)}"
        for code, text, found in findings
        if found
    )


def _odd_names(names: list[str]) -> list[str]:
    return [name for name in names if not _is_plain(name)]


def _is_plain(name: str) -> bool:
    if name.isascii() and name.isprintable() and name:
        return name.strip() == name
    categories = {unicodedata.category(char) for char in name}
    return bool(name) and name.strip() == name and not categories & _ODD_CATEGORIES


def _confusable(names: list[str]) -> list[str]:
    by_form: dict[str, list[str]] = {}
    for name in names:
        by_form.setdefault(unicodedata.normalize("NFC", name), []).append(name)
    return [name for group in by_form.values() if len(group) > 1 for name in group]
