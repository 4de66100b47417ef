"""Zip archives with any defect, byte by byte; load it through the fixture `zips`."""

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """One member; what is None follows from the rest.

    `local` replaces fields of the local header, `behind` follows the data.
    """

    name: str | bytes
    data: bytes = b"data"
    packed: bytes | None = None
    method: int = 0
    nbytes: int | None = None
    crc: int | None = None
    flags: int = 0
    attributes: int = 0
    offset: int | None = None
    extra: bytes = b""
    local: tuple[tuple[str, object], ...] = ()
    behind: bytes = b""


def build(*parts, prefix=b"", trailing=b"", comment=b"", n=None):
    """An archive of `parts`."""
    body, directory = bytearray(prefix), bytearray()
    for part in parts:
        fields = _fields(part)
        offset = len(body) if part.offset is None else part.offset
        directory += _central(part, fields, offset)
        body += _local({**fields, **dict(part.local)}) + fields["packed"] + part.behind
    count = len(parts) if n is None else n
    end = struct.pack(
        "<4s4H2LH",
        b"PK\5\6",
        0,
        0,
        count,
        count,
        len(directory),
        len(body),
        len(comment),
    )
    return bytes(body + directory) + end + comment + trailing


def _fields(part):
    return {
        "name": part.name if isinstance(part.name, bytes) else part.name.encode(),
        "packed": part.data if part.packed is None else part.packed,
        "method": part.method,
        "flags": part.flags,
        "nbytes": len(part.data) if part.nbytes is None else part.nbytes,
        "crc": zlib.crc32(part.data) if part.crc is None else part.crc,
    }


def _local(fields):
    n_packed = fields.get("n_packed", len(fields["packed"]))
    numbers = (fields["crc"], n_packed, fields["nbytes"], len(fields["name"]), 0)
    head = (b"PK\3\4", 20, fields["flags"], fields["method"], 0, 33)
    return struct.pack("<4s5H3L2H", *head, *numbers) + fields["name"]


def _central(part, fields, offset):
    lengths = (len(fields["name"]), len(part.extra), 0, 0, 0)
    return (
        struct.pack(
            "<4s6H3L5H2L",
            b"PK\1\2",
            20,
            20,
            fields["flags"],
            fields["method"],
            0,
            33,
            fields["crc"],
            len(fields["packed"]),
            fields["nbytes"],
            *lengths,
            part.attributes,
            offset,
        )
        + fields["name"]
        + part.extra
    )


def deflated(data):
    """What a deflating program stores for `data`."""
    return zlib.compress(data, 9)[2:-4]


def python_zip(members, method=zipfile.ZIP_STORED, target=None, **options):
    """What Python's own library writes: name -> bytes."""
    buffer = io.BytesIO() if target is None else target
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            with file.open(info, "w", **options) as member:
                member.write(data)
    return buffer.getvalue()
