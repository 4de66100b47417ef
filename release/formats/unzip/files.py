"""The files that an archive for people holds: none that could surprise whoever unpacks.

Stricter than programs that unpack. Every byte of the archive belongs to a member, the
directory or the end record, so that no second archive hides in it, and every name may
be written below any folder on any system.

Source:
    PKWARE APPNOTE 6.3.10, sections 4.3.9 (data descriptor), 4.4.15 (attributes) and
    4.6.9 (Unicode path).
"""

import stat
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from release.errors import visible
from release.formats.limits import FOLDER_ENTRIES_MAX
from release.formats.paths import safe_relative_paths
from release.formats.refused import RefusedError
from release.formats.unzip.end import Directory, find_directory
from release.formats.unzip.entries import (
    DEFLATED,
    FOLDER_ATTRIBUTE,
    SIZES_FOLLOW,
    STORED,
    Entry,
    check_kind,
    extra_fields,
    read_entries,
)
from release.formats.unzip.places import place_entries
from release.formats.unzip.source import Source

_METHODS: Final = (STORED, DEFLATED)
_EXTRA_UNICODE_PATH: Final = 0x7075
_DESCRIPTOR_MAGIC: Final = b"PK\x07\x08"

_RATIO_MAX: Final = 20
"""Times its own size that an archive may unpack to; weights shrink to 0.8, text to a
tenth."""
_UNPACKED_NBYTES_FREE: Final = 64 * 2**20
"""Bytes that an archive of any size may unpack to."""


@dataclass(frozen=True, slots=True)
class PackedFile:
    """One file of an archive.

    Attributes:
        name: Relative path with `/`, safe on every system.
        begin: First byte of its data, from the start of the archive.
        packed: Bytes that the data takes there.
        nbytes: Bytes of the file.
        crc: CRC-32 of the file.
        is_stored: Whether the data is the file itself; else it is deflated.
    """

    name: str
    begin: int
    packed: int
    nbytes: int
    crc: int
    is_stored: bool


def read_files(source: Source) -> tuple[PackedFile, ...]:
    """Return the files of an archive, in the order of its directory.

    Headers are read and compared, data is not.

    Raises:
        RefusedError: `format`, `compressed`, `zip-duplicate`, `zip-flags`, `zip-gap`,
            `zip-member`, `zip-mismatch` or `zip-size`.
        IntegrityError: `path`, a name that is not safe, or a file twice.
    """
    directory = find_directory(source)
    if directory.n_members > FOLDER_ENTRIES_MAX:
        raise RefusedError(
            "zip-member",
            f"lists {directory.n_members:,} members, expected at most "
            f"{FOLDER_ENTRIES_MAX:,}",
        )
    entries = read_entries(source, directory)
    for entry in entries:
        check_kind(entry.name, entry.flags, entry.method, _METHODS)
        _check_type(entry)
        _check_one_name(entry)
    _check_names([entry.name for entry in entries])
    _check_total(entries, source.nbytes)
    begins = place_entries(source, entries, directory.offset, methods=_METHODS)
    _check_covered(source, directory, list(zip(entries, begins, strict=True)))
    return tuple(
        PackedFile(
            name=entry.name,
            begin=begin,
            packed=entry.packed,
            nbytes=entry.nbytes,
            crc=entry.crc,
            is_stored=entry.method == STORED,
        )
        for entry, begin in zip(entries, begins, strict=True)
        if not _is_folder(entry)
    )


def _is_folder(entry: Entry) -> bool:
    return entry.name.endswith("/")


def _check_type(entry: Entry) -> None:
    """Refuse symlinks and devices, and folders that are half a file."""
    unix = stat.S_IFMT(entry.attributes >> 16)
    if unix not in {0, stat.S_IFREG, stat.S_IFDIR}:
        kind = "a symlink" if unix == stat.S_IFLNK else "a special file"
        raise RefusedError(
            "zip-member",
            f"member {visible(entry.name)} is {kind}, expected a regular file",
        )
    is_marked = unix == stat.S_IFDIR or bool(entry.attributes & FOLDER_ATTRIBUTE)
    if _is_folder(entry):
        is_right = entry.nbytes == 0 and entry.packed <= 2 and unix != stat.S_IFREG
    else:
        is_right = not is_marked
    if not is_right:
        raise RefusedError(
            "zip-member",
            f"member {visible(entry.name)} is a folder by its name or by its "
            f"attributes and a file by the other",
        )


def _check_one_name(entry: Entry) -> None:
    """Refuse a second name, which some programs prefer and others do not know."""
    for tag, content in extra_fields(entry.extra, entry.name):
        if tag == _EXTRA_UNICODE_PATH and content[5:] != entry.raw_name:
            second = content[5:].decode("utf-8", "replace")
            raise RefusedError(
                "zip-mismatch",
                f"member {visible(entry.name)} has the second name "
                f"{visible(second)}, expected one",
            )


def _twice(name: str, other: str) -> str:
    if name == other:
        return f"member {visible(name)} is there twice, expected unique names"
    return (
        f"members {visible(other)} and {visible(name)} differ in case only, expected "
        "names that are unique on every system"
    )


def _check_names(names: Sequence[str]) -> None:
    """Refuse names that are unsafe, or that one folder cannot hold together."""
    seen: dict[str, str] = {}
    for name in names:
        if name.casefold() in seen:
            other = seen[name.casefold()]
            raise RefusedError("zip-duplicate", _twice(name, other))
        seen[name.casefold()] = name
    safe_relative_paths(name.removesuffix("/") for name in names)
    files = {name.casefold(): name for name in names if not name.endswith("/")}
    for name in names:
        for folder in _parents(name.casefold()):
            if folder in files:
                raise RefusedError(
                    "zip-duplicate",
                    f"member {visible(files[folder])} is a file and the folder of "
                    f"{visible(name)}",
                )


def _parents(name: str) -> Iterator[str]:
    at = name.find("/")
    while at >= 0:
        yield name[:at]
        at = name.find("/", at + 1)


def _check_total(entries: Iterable[Entry], archive_nbytes: int) -> None:
    total = sum(entry.nbytes for entry in entries)
    limit = _UNPACKED_NBYTES_FREE + _RATIO_MAX * archive_nbytes
    if total > limit:
        raise RefusedError(
            "zip-size",
            f"says that it unpacks to {total:,} bytes, expected at most {limit:,} of "
            f"{archive_nbytes:,}",
        )


def _check_covered(
    source: Source, directory: Directory, placed: list[tuple[Entry, int]]
) -> None:
    """Refuse bytes that belong to nothing: programs ignore them, or run them."""
    if not placed and directory.offset:
        raise RefusedError(
            "zip-gap", f"{directory.offset:,} bytes precede the archive, expected none"
        )
    placed.sort(key=lambda pair: pair[1])
    offsets = [*(entry.offset for entry, _ in placed), directory.offset]
    next_offsets = offsets[1:]
    for (entry, begin), following in zip(placed, next_offsets, strict=True):
        end = begin + entry.packed
        gap = source.read(end, following - end) if following - end <= 24 else None
        if gap != b"" and gap not in _descriptors(entry):
            raise RefusedError(
                "zip-gap",
                f"{following - end:,} bytes behind member {visible(entry.name)} belong "
                f"to nothing, expected none",
            )
    if directory.end != source.nbytes:
        raise RefusedError(
            "zip-gap",
            f"{source.nbytes - directory.end:,} bytes follow the archive, "
            f"expected none",
        )


def _descriptors(entry: Entry) -> set[bytes]:
    """Return the forms that checksum and sizes may have behind the data."""
    if not entry.flags & SIZES_FOLLOW:
        return set()
    values = (entry.crc, entry.packed, entry.nbytes)
    forms = {struct.pack("<L2Q", *values)}
    if max(values) <= 0xFFFFFFFF:
        forms.add(struct.pack("<3L", *values))
    return forms | {_DESCRIPTOR_MAGIC + form for form in forms}
