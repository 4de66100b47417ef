"""The entries of a zip archive's central directory.

Source:
    PKWARE APPNOTE 6.3.10, sections 4.3.12 and 4.5.3.
"""

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from release.errors import visible
from release.formats.refused import RefusedError
from release.formats.unzip.end import Directory
from release.formats.unzip.source import Source

_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_CENTRAL_MAGIC: Final = b"PK\x01\x02"
STORED: Final = 0
"""The method that leaves bytes as they are."""
DEFLATED: Final = 8
"""The method of nearly every compressed member."""
FOLDER_ATTRIBUTE: Final = 0x10
"""By which some readers, PyTorch's among them, take a member for a folder: no data."""
SIZES_FOLLOW: Final = 0x0008
"""The flag of a member whose checksum and sizes stand behind its data."""

_FLAGS_ALLOWED: Final = {STORED: 0x0808, DEFLATED: 0x080E}
"""Sizes behind the data, names in UTF-8 (PyTorch sets both), and how hard a deflating
program tried."""
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
        packed: Bytes that it takes in the archive; the same where it is stored.
        attributes: External attributes: the low byte is of DOS, the upper half of Unix.
        extra: All extra fields.
        offset: Where the local header begins, from the start of the file.
    """

    raw_name: bytes
    name: str
    flags: int
    method: int
    crc: int
    nbytes: int
    packed: int
    attributes: int
    extra: bytes
    offset: int


def read_entries(source: Source, directory: Directory) -> list[Entry]:
    """Return all entries, in the order of the directory.

    Raises:
        RefusedError: `zip-member` when there are too many or a name is not UTF-8,
            `zip-mismatch` or `format`.
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
    extra = raw[extras : extras + n_extra]
    nbytes, packed, offset = widen(extra, (nbytes, packed, offset), name)
    if nbytes != packed and method == STORED:
        raise RefusedError(
            "zip-mismatch",
            f"member {visible(name)} is stored in {packed:,} bytes, "
            f"expected its {nbytes:,}",
        )
    entry = Entry(
        raw_name=raw[names:extras],
        name=name,
        flags=flags,
        method=method,
        crc=crc,
        nbytes=nbytes,
        packed=packed,
        attributes=attributes,
        extra=extra,
        offset=offset,
    )
    return entry, end


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        shown = visible(raw.decode("latin-1"))
        raise RefusedError("zip-member", f"member {shown} is not UTF-8") from None


def check_kind(name: str, flags: int, method: int, methods: Collection[int]) -> None:
    """Refuse methods that are not read, and bytes that are more than packed.

    Args:
        name: Of the member, for messages.
        flags: Of its entry or its local header.
        method: The same.
        methods: Those that are read: `STORED`, `DEFLATED`.

    Raises:
        RefusedError: `zip-flags` or `compressed`.
    """
    allowed = _FLAGS_ALLOWED.get(method, _FLAGS_ALLOWED[STORED])
    if flags & ~allowed:
        raise RefusedError(
            "zip-flags",
            f"member {visible(name)} has zip flags 0x{flags:04x} (encrypted, patched "
            f"or of unknown kind), expected at most 0x{allowed:04x}",
        )
    if method not in methods:
        expected = "stored or deflated" if DEFLATED in methods else "stored"
        raise RefusedError(
            "compressed",
            f"member {visible(name)} is compressed (zip method {method}), "
            f"expected {expected} bytes",
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
    fields = [data for tag, data in extra_fields(extra, name) if tag == _EXTRA_64]
    if len(fields) != 1 or len(fields[0]) < 8 * len(missing):
        raise RefusedError("format", f"member {visible(name)} lacks its 64-bit sizes")
    wide = list(values)
    for number, at in enumerate(missing):
        wide[at] = int.from_bytes(fields[0][8 * number : 8 * number + 8], "little")
    return tuple(wide)


def extra_fields(extra: bytes, name: str) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each extra field.

    Raises:
        RefusedError: `format`.
    """
    position = 0
    while position < len(extra):
        head = extra[position : position + 4]
        end = position + 4 + int.from_bytes(head[2:], "little")
        if len(head) < 4 or end > len(extra):
            raise RefusedError("format", f"member {visible(name)} has a broken field")
        yield int.from_bytes(head[:2], "little"), extra[position + 4 : end]
        position = end
