"""Zip archives of stored members: the same members give the same bytes.

Python's `zipfile` reads these files. It does not write them, since the bytes it writes
differ between versions of Python and its size is known only afterwards.

Source:
    PKWARE APPNOTE.TXT 6.3.10, sections 4.3 (records), 4.4.4 (flags), 4.5.3 (zip64).
"""

import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from release.errors import InputError, WriteError, visible
from release.formats.input import InputFile, fingerprint_of
from release.formats.output import OutputFile
from release.formats.paths import safe_relative_paths
from release.formats.scan import blocks

_LIMIT_32: Final = 0xFFFFFFFF
"""Sizes and offsets from here on move to a zip64 field."""
_LIMIT_16: Final = 0xFFFF

_LOCAL: Final = struct.Struct("<4s5H3L2H")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_END: Final = struct.Struct("<4s4H2LH")
_END_64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64: Final = struct.Struct("<4sLQL")

_VERSION_STORED: Final = 20
_VERSION_ZIP64: Final = 45
_SYSTEM_UNIX: Final = 3
_FLAG_UTF8: Final = 0x800
_DATE_1980_01_01: Final = 0x21
_MODE: Final = 0o100644


@dataclass(frozen=True, slots=True)
class ZipMember:
    """One file of an archive.

    Attributes:
        name: Relative path inside the archive, with `/`.
        source: A file on disk, or the bytes themselves.
    """

    name: str
    source: Path | bytes


@dataclass(frozen=True, slots=True)
class _Placed:
    """A member with its size in bytes and the offset of its local record.

    `status` is that of its file when the archive was planned.
    """

    member: ZipMember
    name: bytes
    nbytes: int
    offset: int
    status: os.stat_result | None

    @property
    def data_offset(self) -> int:
        return self.offset + len(_local_record(self, 0))

    @property
    def end(self) -> int:
        return self.data_offset + self.nbytes


def zip_nbytes(sizes: Mapping[str, int]) -> int:
    """Return the exact size in bytes of an archive of members that need not exist yet.

    Args:
        sizes: Name of each member -> its bytes.
    """
    placed: list[_Placed] = []
    for name, nbytes in sorted(sizes.items()):
        member, offset = ZipMember(name, b""), _data_end(placed)
        placed.append(_Placed(member, name.encode(), nbytes, offset, status=None))
    return _nbytes(placed)


def write_stored_zip(
    output: Path, members: Sequence[ZipMember], *, overwrite: bool = False
) -> None:
    """Write an archive of `members`, sorted by name, and read it back.

    Time stamps are 1980-01-01, modes 0644; the order of `members` does not matter.

    Raises:
        IntegrityError: `path`: a name that is not safe on every system.
        InputError: A source is missing, not a regular file, or changed meanwhile.
        OutputError: As for `OutputFile.create`.
        WriteError: The system refused, or the bytes do not read back.
    """
    placed = _place(members)
    inputs = [item.status for item in placed if item.status is not None]
    with OutputFile.create(
        output, _nbytes(placed), overwrite=overwrite, inputs=inputs
    ) as file:
        checksums = [_write_member(file, item) for item in placed]
        file.write_at(_data_end(placed), _directory(placed, checksums))
        file.sync()
        _check_written(file, placed, checksums)
        file.publish()


def _place(members: Sequence[ZipMember]) -> list[_Placed]:
    safe_relative_paths(member.name for member in members)
    placed: list[_Placed] = []
    for member in sorted(members, key=lambda member: member.name):
        offset = placed[-1].end if placed else 0
        placed.append(_placed_at(offset, member))
    return placed


def _placed_at(offset: int, member: ZipMember) -> _Placed:
    name, source = member.name.encode(), member.source
    if isinstance(source, bytes):
        return _Placed(member, name, len(source), offset, status=None)
    with InputFile(source) as file:
        status = os.fstat(file.fileno())
    return _Placed(member, name, status.st_size, offset, status)


def _data_end(placed: Sequence[_Placed]) -> int:
    return placed[-1].end if placed else 0


def _nbytes(placed: Sequence[_Placed]) -> int:
    return _data_end(placed) + len(_directory(placed, [0] * len(placed)))


def _write_member(output: OutputFile, item: _Placed) -> int:
    """Write the member's data, then its record in front of it; return its CRC-32."""
    offset, checksum = item.data_offset, 0
    for block in _blocks(item):
        output.write_at(offset, block)
        checksum = zlib.crc32(block, checksum)
        offset += len(block)
    output.write_at(item.offset, _local_record(item, checksum))
    return checksum


def _blocks(item: _Placed) -> Iterator[memoryview]:
    source = item.member.source
    if isinstance(source, bytes):
        yield memoryview(source)
        return
    with InputFile(source) as file:
        if item.status is None or file.fingerprint != fingerprint_of(item.status):
            raise InputError(
                source,
                f"changed, got {file.nbytes:,} bytes, expected the planned "
                f"{item.nbytes:,} unchanged",
                code="input-changed",
                hint="run the command again when nothing else writes to the file",
            )
        yield from blocks(file, 0, item.nbytes)
        file.check_unchanged()


def _check_written(
    output: OutputFile, placed: Sequence[_Placed], checksums: Sequence[int]
) -> None:
    """Compare every byte of the archive with what was meant to be written."""
    directory = _directory(placed, checksums)
    is_equal = _read_back(output, _data_end(placed), len(directory)) == directory
    for item, checksum in zip(placed, checksums, strict=True):
        record = _local_record(item, checksum)
        is_equal &= _read_back(output, item.offset, len(record)) == record
        is_equal &= _read_checksum(output, item) == checksum
    if not is_equal:
        raise WriteError(
            f"{visible(output.path, 1024)}: does not read back as it was written",
            hint="run the command again; if it fails again, use another disk",
        )


def _read_back(output: OutputFile, offset: int, nbytes: int) -> bytearray:
    copy = bytearray(nbytes)
    output.read_into(offset, memoryview(copy))
    return copy


def _read_checksum(output: OutputFile, item: _Placed) -> int:
    checksum = 0
    for block in blocks(output, item.data_offset, item.end):
        checksum = zlib.crc32(block, checksum)
    return checksum


def _flags(name: bytes) -> int:
    return 0 if name.isascii() else _FLAG_UTF8


def _version(*, is_zip64: bool) -> int:
    return _VERSION_ZIP64 if is_zip64 else _VERSION_STORED


def _shown(value: int) -> int:
    """Return what a 32-bit field holds for `value`."""
    return min(value, _LIMIT_32)


def _extra_64(values: Sequence[int]) -> bytes:
    """Return the zip64 extra field for values that do not fit into 32 bits."""
    if not values:
        return b""
    return struct.pack(f"<2H{len(values)}Q", 1, 8 * len(values), *values)


def _local_record(item: _Placed, checksum: int) -> bytes:
    is_large = item.nbytes >= _LIMIT_32
    shown = _shown(item.nbytes)
    extra = _extra_64([item.nbytes, item.nbytes] if is_large else [])
    record = _LOCAL.pack(
        b"PK\x03\x04",
        _version(is_zip64=is_large),
        _flags(item.name),
        0,
        0,
        _DATE_1980_01_01,
        checksum,
        shown,
        shown,
        len(item.name),
        len(extra),
    )
    return record + item.name + extra


def _central_record(item: _Placed, checksum: int) -> bytes:
    is_large = item.nbytes >= _LIMIT_32
    is_far = item.offset >= _LIMIT_32
    extra = _extra_64([item.nbytes, item.nbytes] * is_large + [item.offset] * is_far)
    version = _version(is_zip64=bool(extra))
    shown = _shown(item.nbytes)
    record = _CENTRAL.pack(
        b"PK\x01\x02",
        version | _SYSTEM_UNIX << 8,
        version,
        _flags(item.name),
        0,
        0,
        _DATE_1980_01_01,
        checksum,
        shown,
        shown,
        len(item.name),
        len(extra),
        0,
        0,
        0,
        _MODE << 16,
        _shown(item.offset),
    )
    return record + item.name + extra


def _directory(placed: Sequence[_Placed], checksums: Sequence[int]) -> bytes:
    """Return everything behind the members' data."""
    pairs = zip(placed, checksums, strict=True)
    records = b"".join(_central_record(item, checksum) for item, checksum in pairs)
    begin = _data_end(placed)
    count = len(placed)
    end_64 = b""
    if max(begin, len(records)) >= _LIMIT_32 or count >= _LIMIT_16:
        end_64 = _END_64.pack(
            b"PK\x06\x06",
            _END_64.size - 12,
            _VERSION_ZIP64 | _SYSTEM_UNIX << 8,
            _VERSION_ZIP64,
            0,
            0,
            count,
            count,
            len(records),
            begin,
        ) + _LOCATOR_64.pack(b"PK\x06\x07", 0, begin + len(records), 1)
    shown = min(count, _LIMIT_16)
    return (
        records
        + end_64
        + _END.pack(
            b"PK\x05\x06",
            0,
            0,
            shown,
            shown,
            _shown(len(records)),
            _shown(begin),
            0,
        )
    )
