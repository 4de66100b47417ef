"""Where the data of every member lies: local headers against the directory.

Source:
    PKWARE APPNOTE 6.3.10, sections 4.3.7 (local header) and 4.4.4 (flags).
"""

import struct
from collections.abc import Collection, Sequence
from typing import Final

from release.errors import visible
from release.formats.refused import RefusedError
from release.formats.unzip.entries import SIZES_FOLLOW, Entry, check_kind, widen
from release.formats.unzip.source import Source

_LOCAL: Final = struct.Struct("<4s5H3L2H")
_LOCAL_MAGIC: Final = b"PK\x03\x04"
_UNKNOWN: Final = (0, 0xFFFFFFFF)
"""What a local header shows where checksum and sizes follow the data."""


def place_entries(
    source: Source,
    entries: Sequence[Entry],
    directory_offset: int,
    *,
    methods: Collection[int],
) -> list[int]:
    """Return where the data of each entry begins, after all local headers agree.

    The first member begins the file, and none lies over another or the directory.

    Args:
        source: The archive.
        entries: Its members.
        directory_offset: Where its directory begins.
        methods: As for `check_kind`.

    Raises:
        RefusedError: `format`, `zip-mismatch`, `zip-flags` or `compressed`.
    """
    position = 0
    begins: dict[int, int] = {}
    for entry in sorted(entries, key=lambda entry: entry.offset):
        if not begins and entry.offset != 0:
            raise RefusedError(
                "format", f"{entry.offset:,} bytes precede the archive, expected none"
            )
        if entry.offset < position:
            raise RefusedError(
                "format", f"member {visible(entry.name)} overlaps another"
            )
        begin = _check_local(source, entry, directory_offset, methods)
        position = begin + entry.packed
        if position > directory_offset:
            raise RefusedError(
                "format", f"member {visible(entry.name)} runs into the directory"
            )
        begins[entry.offset] = begin
    return [begins[entry.offset] for entry in entries]


def _check_local(
    source: Source, entry: Entry, directory_offset: int, methods: Collection[int]
) -> int:
    """Compare a local header with the central entry; return where its data begins."""
    n_name = len(entry.raw_name)
    if entry.offset + _LOCAL.size + n_name > directory_offset:
        raise RefusedError("format", f"member {visible(entry.name)} is cut short")
    raw = source.read(entry.offset, _LOCAL.size + n_name)
    magic, _, flags, method, _, _, crc, packed, nbytes, n_local, n_extra = (
        _LOCAL.unpack_from(raw)
    )
    if magic != _LOCAL_MAGIC:
        raise RefusedError("format", f"member {visible(entry.name)} has no header")
    check_kind(entry.name, flags, method, methods)
    begin: int = entry.offset + _LOCAL.size + n_name + n_extra
    if begin > directory_offset:
        raise RefusedError("format", f"member {visible(entry.name)} is cut short")
    if n_local != n_name or raw[_LOCAL.size :] != entry.raw_name:
        raise _mismatch(entry, "name")
    if (flags, method) != (entry.flags, entry.method):
        raise _mismatch(entry, "flags or method")
    extra = source.read(begin - n_extra, n_extra)
    stated = (crc, *_sizes(entry, extra, nbytes=nbytes, packed=packed))
    if not _agrees(stated, entry):
        raise _mismatch(entry, "sizes or CRC")
    return begin


def _sizes(entry: Entry, extra: bytes, *, nbytes: int, packed: int) -> tuple[int, ...]:
    """Return both sizes of a local header, those of 64 bits from its extra field."""
    if entry.flags & SIZES_FOLLOW:
        return nbytes, packed
    return widen(extra, (nbytes, packed), entry.name)


def _agrees(stated: tuple[int, ...], entry: Entry) -> bool:
    expected = (entry.crc, entry.nbytes, entry.packed)
    if not entry.flags & SIZES_FOLLOW:
        return stated == expected
    return all(
        shown in {*_UNKNOWN, value}
        for shown, value in zip(stated, expected, strict=True)
    )


def _mismatch(entry: Entry, what: str) -> RefusedError:
    return RefusedError(
        "zip-mismatch",
        f"member {visible(entry.name)}: its {what} in the directory and at its place "
        f"differ",
    )
