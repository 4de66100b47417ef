"""The entries of a zip archive's central directory.

Source:
    PKWARE APPNOTE 6.3.10, sections 4.3.12 and 4.5.3.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from release.errors import visible
from release.formats.pickled.faults import RefusedError
from release.formats.pickled.source import Source
from release.formats.pickled.zip_end import Directory

_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_CENTRAL_MAGIC: Final = b"PK\x01\x02"
_STORED: Final = 0
_FLAGS_ALLOWED: Final = 0x0808
"""Sizes behind the data, and names in UTF-8; PyTorch sets both."""
_FOLDER_ATTRIBUTE: Final = 0x10
"""By which some readers, PyTorch's among them, take a member for a folder: no data."""
_SHOWN_64: Final = 0xFFFFFFFF
_EXTRA_64: Final = 0x0001

_MEMBERS_MAX: Final = 200_000
_DIRECTORY_NBYTES_MAX: Final = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the central directory.

    Attributes:
        raw_name: The name's bytes, as the local header must repeat them.
        name: The same as text.
        flags: Zip flags.
        method: Zip method; 0 is stored.
        crc: CRC-32 of the data.
        nbytes: Bytes of the data.
        offset: Where the local header begins, from the start of the file.
    """

    raw_name: bytes
    name: str
    flags: int
    method: int
    crc: int
    nbytes: int
    offset: int


def read_entries(source: Source, directory: Directory) -> list[Entry]:
    """Return all entries, in the order of the directory.

    Raises:
        RefusedError: `zip-member` when there are too many or a name is not UTF-8,
            `zip-flags`, `zip-mismatch` or `format`.
    """
    if directory.n_members > _MEMBERS_MAX or directory.nbytes > _DIRECTORY_NBYTES_MAX:
        raise RefusedError(
            "zip-member",
            f"archive lists {directory.n_members:,} members in {directory.nbytes:,} "
            f"bytes, expected at most {_MEMBERS_MAX:,}",
        )
    raw = source.read(directory.offset, directory.nbytes)
    entries: list[Entry] = []
    position = 0
    for _ in range(directory.n_members):
        entry, position = _read_entry(raw, position)
        entries.append(entry)
    if position != len(raw):
        raise RefusedError(
            "format", f"central directory has {len(raw) - position:,} bytes too many"
        )
    return entries


def _read_entry(raw: bytes, position: int) -> tuple[Entry, int]:
    """Return the entry at `position`, and where the next one begins."""
    if position + _CENTRAL.size > len(raw):
        raise RefusedError("format", "central directory ends within an entry")
    fields = _CENTRAL.unpack_from(raw, position)
    magic, _, _, flags, method, _, _, crc, packed, nbytes = fields[:10]
    n_name, n_extra, n_comment, disk, _, attributes, offset = fields[10:]
    names = position + _CENTRAL.size
    extras = names + n_name
    end = extras + n_extra + n_comment
    if magic != _CENTRAL_MAGIC or end > len(raw) or disk:
        raise RefusedError("format", f"central directory is broken at byte {position}")
    name = _decode(raw[names:extras])
    if attributes & _FOLDER_ATTRIBUTE:
        raise RefusedError(
            "zip-flags",
            f"member {visible(name)} is marked as a folder, expected a record",
        )
    nbytes, packed, offset = widen(
        raw[extras : extras + n_extra], (nbytes, packed, offset), name
    )
    if nbytes != packed and method == _STORED:
        raise RefusedError(
            "zip-mismatch",
            f"member {visible(name)} is stored in {packed:,} bytes, "
            f"expected its {nbytes:,}",
        )
    entry = Entry(raw[names:extras], name, flags, method, crc, nbytes, offset)
    return entry, end


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        shown = visible(raw.decode("latin-1"))
        raise RefusedError("zip-member", f"member {shown} is not UTF-8") from None


def check_kind(name: str, flags: int, method: int) -> None:
    """Refuse what is not plain stored bytes.

    Raises:
        RefusedError: `zip-flags` or `compressed`.
    """
    if flags & ~_FLAGS_ALLOWED:
        raise RefusedError(
            "zip-flags",
            f"member {visible(name)} has zip flags 0x{flags:04x} (encrypted, patched "
            f"or of unknown kind), expected at most 0x{_FLAGS_ALLOWED:04x}",
        )
    if method != _STORED:
        raise RefusedError(
            "compressed",
            f"member {visible(name)} is compressed (zip method {method}), "
            f"expected stored bytes",
        )


def widen(extra: bytes, values: tuple[int, ...], name: str) -> tuple[int, ...]:
    """Return `values`, those that are shown as 2^32 - 1 from the extra field.

    Args:
        extra: All extra fields of an entry or a local header.
        values: Sizes, and the offset if there is one, in the order of the ZIP64 field.
        name: Of the member, for messages.

    Raises:
        RefusedError: `format`.
    """
    missing = [at for at, value in enumerate(values) if value == _SHOWN_64]
    if not missing:
        return values
    fields = [data for tag, data in _extra_fields(extra, name) if tag == _EXTRA_64]
    if len(fields) != 1 or len(fields[0]) < 8 * len(missing):
        raise RefusedError("format", f"member {visible(name)} lacks its 64-bit sizes")
    wide = list(values)
    for number, at in enumerate(missing):
        wide[at] = int.from_bytes(fields[0][8 * number : 8 * number + 8], "little")
    return tuple(wide)


def _extra_fields(extra: bytes, name: str) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(extra):
        head = extra[position : position + 4]
        end = position + 4 + int.from_bytes(head[2:], "little")
        if len(head) < 4 or end > len(extra):
            raise RefusedError("format", f"member {visible(name)} has a broken field")
        yield int.from_bytes(head[:2], "little"), extra[position + 4 : end]
        position = end
