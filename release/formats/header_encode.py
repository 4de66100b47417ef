"""Writing a safetensors header: the same tensors and metadata give the same bytes.

The safetensors library writes metadata in random order, so its files cannot be
reproduced. This encoder sorts it, and otherwise agrees with the library.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Final

from release.errors import OutputError, visible
from release.formats.header_entries import METADATA_KEY
from release.formats.limits import (
    HEADER_NBYTES_MAX,
    METADATA_NBYTES_MAX,
    NAME_NBYTES_MAX,
    TENSORS_MAX,
)
from release.formats.tensor import TensorEntry

_ALIGNMENT: Final = 8


def encode_header(metadata: Mapping[str, str], tensors: Sequence[TensorEntry]) -> bytes:
    """Return length field and header, padded with spaces to a multiple of 8 bytes.

    Args:
        metadata: Written first, keys by code point; left out when empty.
        tensors: In data order and without holes, as `lay_out` returns them.

    Raises:
        OutputError: `tensor-name`, `metadata`, `metadata-size`, `too-many-tensors` or
            `header-too-large`: no strict reader would read it.
        ValueError: `tensors` are not in data order.
    """
    members: dict[str, object] = {}
    if metadata:
        members[METADATA_KEY] = _checked_metadata(metadata)
    _check_tensors(tensors)
    for entry in tensors:
        members[entry.name] = {
            "dtype": entry.dtype.code,
            "shape": list(entry.shape),
            "data_offsets": [entry.begin, entry.end],
        }
    text = json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    if len(text) > HEADER_NBYTES_MAX:
        raise OutputError(
            f"header of {len(text):,} bytes, expected at most {HEADER_NBYTES_MAX:,}",
            code="header-too-large",
            hint="write fewer tensors or less metadata",
        )
    return len(text).to_bytes(8, "little") + text


def _checked_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    nbytes = 0
    for key, value in metadata.items():
        _check_metadata_text(key, key)
        _check_metadata_text(key, value)
        nbytes += len(key.encode()) + len(value.encode())
    if nbytes > METADATA_NBYTES_MAX:
        raise OutputError(
            f"metadata of {nbytes:,} bytes, expected at most {METADATA_NBYTES_MAX:,}",
            code="metadata-size",
            hint="leave large values out of the metadata",
        )
    return dict(sorted(metadata.items()))


def _check_metadata_text(key: object, text: object) -> None:
    """Refuse what is no text, though the annotations of the caller promise it."""
    if not isinstance(text, str):
        raise _bad_metadata(key, f"is {type(text).__name__}, expected a string")
    if not _is_unicode(text):
        raise _bad_metadata(key, "holds half of a surrogate pair")


def _bad_metadata(key: object, reason: str) -> OutputError:
    return OutputError(
        f"metadata key {visible(key)}: {reason}",
        code="metadata",
        hint="metadata maps text to text",
    )


def _check_tensors(tensors: Sequence[TensorEntry]) -> None:
    if len(tensors) > TENSORS_MAX:
        raise OutputError(
            f"{len(tensors):,} tensors, expected at most {TENSORS_MAX:,}",
            code="too-many-tensors",
            hint="split the checkpoint into shards",
        )
    seen: set[str] = set()
    position = 0
    for entry in tensors:
        _check_name(entry.name)
        if entry.name in seen:
            raise _bad_name(entry.name, "occurs twice, expected every name once")
        if entry.begin != position or entry.end < entry.begin:
            reason = f"begins at byte {entry.begin}, expected {position}"
            raise ValueError(f"tensor {visible(entry.name)} {reason}")
        seen.add(entry.name)
        position = entry.end


def _check_name(name: str) -> None:
    if name == METADATA_KEY:
        raise _bad_name(name, "is reserved by the format")
    if not _is_unicode(name):
        raise _bad_name(name, "holds half of a surrogate pair")
    nbytes = len(name.encode())
    if nbytes > NAME_NBYTES_MAX:
        raise _bad_name(
            name, f"is {nbytes:,} bytes long, expected at most {NAME_NBYTES_MAX:,}"
        )


def _bad_name(name: str, reason: str) -> OutputError:
    return OutputError(
        f"tensor name {visible(name)} {reason}",
        code="tensor-name",
        hint="rename the tensor",
    )


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
