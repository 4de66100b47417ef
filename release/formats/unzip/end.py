"""The end of a zip archive: where its central directory lies.

Source:
    PKWARE APPNOTE 6.3.10, sections 4.3.14 to 4.3.16 (ZIP64 and end records).
"""

import struct
from dataclasses import dataclass
from typing import Final

from release.formats.refused import RefusedError
from release.formats.unzip.source import Source

_END: Final = struct.Struct("<4s4H2LH")
_END_MAGIC: Final = b"PK\x05\x06"
_END_64: Final = struct.Struct("<4sQ2H2L4Q")
_END_64_MAGIC: Final = b"PK\x06\x06"
_LOCATOR: Final = struct.Struct("<4sLQL")
_LOCATOR_MAGIC: Final = b"PK\x06\x07"
_COMMENT_NBYTES_MAX: Final = 0xFFFF


@dataclass(frozen=True, slots=True)
class Directory:
    """Where the central directory is, and what follows the archive.

    Attributes:
        n_members: Entries of the directory.
        offset: Its first byte, from the start of the file.
        nbytes: Its length.
        end: Byte after the archive's last one.
        warnings: About comment and trailing bytes.
    """

    n_members: int
    offset: int
    nbytes: int
    end: int
    warnings: tuple[str, ...]


def find_directory(source: Source) -> Directory:
    """Return the place of the central directory, ending where the end records begin.

    Raises:
        RefusedError: `format` or `zip-mismatch`.
    """
    at, fields = _find_end(source)
    _, disk, directory_disk, n_here, n_members, nbytes, offset, n_comment = fields
    if disk or directory_disk or n_here != n_members:
        raise _broken("is one part of several")
    end = at
    wide = _read_end_64(source, at)
    if wide is not None:
        end, *found = wide
        for narrow, value, limit in zip(
            (n_members, nbytes, offset),
            found,
            (0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
            strict=True,
        ):
            if narrow not in {value, limit}:
                raise RefusedError(
                    "zip-mismatch",
                    f"zip end records disagree, got {narrow:,} and {value:,}",
                )
        n_members, nbytes, offset = found
    if offset + nbytes != end:
        raise _broken(
            f"has a central directory of {nbytes:,} bytes at {offset:,}, expected it "
            f"to end at byte {end:,}"
        )
    after = at + _END.size + n_comment
    warnings = _warnings(n_comment, source.nbytes - after)
    return Directory(n_members, offset, nbytes, after, warnings)


def _find_end(source: Source) -> tuple[int, tuple[int, ...]]:
    n_tail = min(source.nbytes, _END.size + _COMMENT_NBYTES_MAX)
    tail = source.read(source.nbytes - n_tail, n_tail)
    at = tail.rfind(_END_MAGIC)
    if at < 0 or at + _END.size > n_tail:
        raise _broken("has no end record: it is cut short, or not a zip archive")
    fields = _END.unpack_from(tail, at)
    if at + _END.size + fields[-1] > n_tail:
        raise _broken("has a comment that runs beyond the end of the file")
    return source.nbytes - n_tail + at, fields


def _read_end_64(source: Source, end: int) -> tuple[int, int, int, int] | None:
    """Return place, members, bytes and offset of the ZIP64 record; None without one."""
    at = end - _LOCATOR.size
    if at < 0:
        return None
    magic, disk, offset, n_disks = _LOCATOR.unpack(source.read(at, _LOCATOR.size))
    if magic != _LOCATOR_MAGIC:
        return None
    if disk or n_disks != 1 or offset + _END_64.size != at:
        raise _broken("has a ZIP64 locator that does not lead to its record")
    fields = _END_64.unpack(source.read(offset, _END_64.size))
    magic_64, n_record, _, _, disk, directory_disk, n_here, *found = fields
    n_members, nbytes, directory = found
    if (
        magic_64 != _END_64_MAGIC
        or n_record != _END_64.size - 12
        or disk
        or directory_disk
        or n_here != n_members
    ):
        raise _broken("has a ZIP64 end record that is not one")
    return offset, n_members, nbytes, directory


def _broken(reason: str) -> RefusedError:
    return RefusedError("format", f"zip archive {reason}")


def _warnings(n_comment: int, n_after: int) -> tuple[str, ...]:
    warnings: list[str] = []
    if n_comment:
        warnings.append(
            f"zip-member: the archive carries a comment of {n_comment:,} bytes"
        )
    if n_after:
        warnings.append(f"trailing-bytes: {n_after:,} bytes follow the archive")
    return tuple(warnings)
