"""The safetensors header: strictly read here, deterministically written next door.

A file is the length N of its header (8 bytes, little endian), N bytes of JSON, then
the data of all tensors. `read_header` accepts a subset of what the safetensors library
accepts: what two parsers could understand differently is refused.

Source:
    huggingface/safetensors, README "Format".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from release.errors import HeaderError
from release.formats.header_encode import encode_header
from release.formats.header_entries import parse_entries, parse_metadata
from release.formats.header_json import parse_header_json
from release.formats.header_layout import check_layout
from release.formats.hints import DAMAGED
from release.formats.input import InputFile
from release.formats.limits import HEADER_NBYTES_MAX, HEADER_NBYTES_WARN
from release.formats.tensor import TensorEntry, TensorSpec, lay_out

__all__ = [
    "Header",
    "TensorEntry",
    "TensorSpec",
    "encode_header",
    "lay_out",
    "read_header",
    "read_stated_header",
]

_LENGTH_NBYTES: Final = 8
_PROBE_NBYTES: Final = 64
_LFS_POINTER: Final = b"version https://git-lfs.github.com/spec/"
_LOOKALIKES: Final = (
    (
        b"PK\x03\x04",
        "is a zip archive, perhaps a PyTorch checkpoint",
        "krelease convert makes a safetensors file of a PyTorch checkpoint",
    ),
    (
        b"\x80",
        "looks like a bare pickle",
        "have its author save it again as safetensors, or with PyTorch 1.6 or later",
    ),
    (
        b"<",
        "looks like a web page",
        "the download was an error page: download the file again",
    ),
    (
        b"{",
        "is a JSON file",
        "name the weights: an index or a configuration holds none",
    ),
    (b"GGUF", "is a GGUF file", "GGUF is not read: look for a safetensors copy"),
)
"""First bytes, what a file is that begins so, and what to do."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a safetensors file says about itself.

    Attributes:
        metadata: The `__metadata__` map; foreign text.
        tensors: All tensors in data order.
        nbytes: Bytes before the data section, the length field included.
        warnings: Oddities that are legal, one line each, beginning with a stable word.
    """

    metadata: Mapping[str, str]
    tensors: tuple[TensorEntry, ...]
    nbytes: int
    warnings: tuple[str, ...]


def read_header(file: InputFile) -> Header:
    """Return the header of `file`, all of it checked against the file's size.

    Raises:
        HeaderError: `lfs-pointer`, `too-short`, `header-too-large`, `header-length`,
            `header-utf8`, `header-start`, `header-json`, `too-many-tensors`,
            `too-many-values`, `duplicate-key`, `metadata`, `metadata-size`,
            `name-length`, `tensor-entry` or `unknown-field`.
        DtypeError: `dtype` or `sub-byte`.
        ShapeError: `rank` or `overflow`.
        LayoutError: `offsets`, `overlap`, `hole`, `size-mismatch`, `truncated` or
            `trailing-bytes`.
        InputError: The file changed while being read.
    """
    return _read(file, is_whole=True)


def read_stated_header(file: InputFile) -> Header:
    """Return the header of a file that may end too early or too late.

    Everything is checked but the length of the data, which is what the header says.

    Raises:
        CheckpointError: As `read_header`, but neither `truncated` nor `trailing-bytes`.
    """
    return _read(file, is_whole=False)


def _read(file: InputFile, *, is_whole: bool) -> Header:
    length = _header_length(file)
    raw = file.read(_LENGTH_NBYTES, length)
    members, padding_warnings = parse_header_json(file.path, raw)
    metadata, metadata_warnings = parse_metadata(file.path, members)
    entries, entry_warnings = parse_entries(file.path, members)
    nbytes = _LENGTH_NBYTES + length
    data_nbytes = file.nbytes - nbytes
    if not is_whole:
        data_nbytes = max((entry.end for entry in entries), default=0)
    tensors = check_layout(file.path, entries, data_nbytes)
    return Header(
        metadata=metadata,
        tensors=tensors,
        nbytes=nbytes,
        warnings=(
            *_size_warnings(length, len(tensors)),
            *padding_warnings,
            *metadata_warnings,
            *entry_warnings,
        ),
    )


def _header_length(file: InputFile) -> int:
    """Return N after comparing it with the file and with the limit."""
    probe = file.read(0, min(_PROBE_NBYTES, file.nbytes))
    if probe.startswith(_LFS_POINTER):
        raise HeaderError(
            file.path,
            "is a Git LFS pointer, expected the file it points to",
            code="lfs-pointer",
            hint="run git lfs pull, or download the file from the Hub's web page",
        )
    if len(probe) < _LENGTH_NBYTES:
        raise HeaderError(
            file.path,
            f"holds {file.nbytes} bytes, expected at least {_LENGTH_NBYTES}",
            code="too-short",
            hint=DAMAGED,
        )
    length = int.from_bytes(probe[:_LENGTH_NBYTES], "little")
    if length > HEADER_NBYTES_MAX:
        reason, hint = _too_large(probe, length)
        raise HeaderError(file.path, reason, code="header-too-large", hint=hint)
    if _LENGTH_NBYTES + length > file.nbytes:
        raise HeaderError(
            file.path,
            f"header of {length:,} bytes does not fit into {file.nbytes:,} bytes",
            code="header-length",
            hint=DAMAGED,
        )
    return length


def _too_large(probe: bytes, length: int) -> tuple[str, str]:
    """Return what the file seems to be instead, from its first bytes, and the hint."""
    for magic, reason, hint in _LOOKALIKES:
        if probe.startswith(magic):
            return f"{reason}, expected a safetensors file", hint
    return (
        f"header length is {length:,}, expected at most {HEADER_NBYTES_MAX:,}",
        f"this is not a safetensors file, or its start is damaged; {DAMAGED}",
    )


def _size_warnings(length: int, n_tensors: int) -> tuple[str, ...]:
    warnings: list[str] = []
    if length > HEADER_NBYTES_WARN:
        warnings.append(f"header-too-large: {length:,} bytes, some programs refuse it")
    if n_tensors == 0:
        warnings.append("no-tensors: the file holds no tensor")
    return tuple(warnings)
