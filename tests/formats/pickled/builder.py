"""Pickles and zip archives, byte by byte: honest ones, and ones with any defect.

Nothing here is ever executed, and nothing uses the code under test. Load it through the
fixture `kit`; it is no test module.
"""

import struct
import zlib
from dataclasses import dataclass, field, replace

NONE, TRUE, FALSE, EMPTY, LIST = b"N", b"\x88", b"\x89", b")", b"]"
STOP, REDUCE, BUILD, POP = b".", b"R", b"b", b"0"
OFFSET_OF = {"local": 30, "central": 46}


def name(full):
    """GLOBAL of a dotted name."""
    module, _, attribute = full.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def text(value):
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value):
    if isinstance(value, bool):
        return TRUE if value else FALSE
    if 0 <= value < 256:
        return b"K" + bytes([value])
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def sequence(*items):
    """A tuple of values that are pickled already."""
    return b"(" + b"".join(items) + b"t"


def sizes(values):
    return sequence(*(number(value) for value in values))


def mapping(*pairs):
    """A dictionary; string keys are pickled here, bytes are taken as they are."""
    keyed = (
        (key if isinstance(key, bytes) else text(key)) + value for key, value in pairs
    )
    return b"}(" + b"".join(keyed) + b"u"


def ordered():
    return name("collections.OrderedDict") + EMPTY + REDUCE


def call(function, *arguments):
    return name(function) + sequence(*arguments) + REDUCE


def storage(kind="torch.FloatStorage", key="0", location="cpu", numel=4):
    kinds = kind if isinstance(kind, bytes) else name(kind)
    return (
        sequence(text("storage"), kinds, text(key), text(location), number(numel))
        + b"Q"
    )


def tensor(of=None, offset=0, shape=(2, 2), strides=None, rest=b"", gradient=FALSE):
    """Call to `_rebuild_tensor_v2`; contiguous unless strides are given."""
    return name("torch._utils._rebuild_tensor_v2") + view(
        of, offset, shape, strides, rest, gradient
    )


def tensor_v3(dtype, of, offset=0, shape=(2, 2), strides=None):
    rest = name(dtype)
    return name("torch._utils._rebuild_tensor_v3") + view(
        of, offset, shape, strides, rest, FALSE
    )


def view(of, offset, shape, strides, rest, gradient):
    strides = contiguous(shape) if strides is None else strides
    place = [number(offset), sizes(shape), sizes(strides)]
    of = storage() if of is None else of
    return sequence(of, *place, gradient, ordered(), rest) + REDUCE


def contiguous(shape):
    strides, step = [], 1
    for size in reversed(shape):
        strides.insert(0, step)
        step *= max(size, 1)
    return tuple(strides)


def program(value):
    return b"\x80\x02" + value + STOP


@dataclass(frozen=True)
class Entry:
    """A member of an archive; what is None is filled in as PyTorch does."""

    name: str | bytes
    data: bytes = b""
    flags: int = 0x0808
    method: int = 0
    crc: int | None = None
    nbytes: int | None = None
    offset: int | None = None
    local: dict = field(default_factory=dict)
    attributes: int = 0
    align: int = 1

    def raw_name(self):
        return self.name if isinstance(self.name, bytes) else self.name.encode()

    def checksum(self):
        return zlib.crc32(self.data) if self.crc is None else self.crc

    def size(self):
        return len(self.data) if self.nbytes is None else self.nbytes


def local_record(entry, position):
    """Local header, data and descriptor."""
    follows = entry.flags & 8
    shown = {
        "name": entry.raw_name(),
        "flags": entry.flags,
        "method": entry.method,
        "crc": 0 if follows else entry.checksum(),
        "nbytes": 0 if follows else entry.size(),
        **entry.local,
    }
    raw = shown["name"]
    n_pad = -(position + 30 + len(raw) + 4) % entry.align
    extra = b"FB" + struct.pack("<H", n_pad) + b"Z" * n_pad if entry.align > 1 else b""
    head = struct.pack(
        "<4s5H3L2H",
        b"PK\3\4",
        0,
        shown["flags"],
        shown["method"],
        0,
        0,
        shown["crc"],
        shown["nbytes"],
        shown["nbytes"],
        len(raw),
        len(extra),
    )
    tail = b""
    if follows:
        tail = b"PK\7\10" + struct.pack(
            "<LLL", entry.checksum(), len(entry.data), len(entry.data)
        )
    return head + raw + extra + entry.data + tail


def central_record(entry, position):
    offset = position if entry.offset is None else entry.offset
    raw, size = entry.raw_name(), entry.size()
    wide = [size, size] if size > 0xFFFFFFFE else []
    wide += [offset] if offset > 0xFFFFFFFE else []
    extra = b""
    if wide:
        extra = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide)
    return (
        struct.pack(
            "<4s6H3L5H2L",
            b"PK\1\2",
            0,
            0,
            entry.flags,
            entry.method,
            0,
            0,
            entry.checksum(),
            min(size, 0xFFFFFFFF),
            min(size, 0xFFFFFFFF),
            len(raw),
            len(extra),
            0,
            0,
            0,
            entry.attributes,
            min(offset, 0xFFFFFFFF),
        )
        + raw
        + extra
    )


def end_records(n, nbytes, offset, /, wide=False, comment=b"", **changes):
    shown = {"n": n, "nbytes": nbytes, "offset": offset, "disk": 0, **changes}
    end_64 = b""
    if wide:
        place = offset + nbytes
        n = shown.get("n_64", n)
        end_64 = struct.pack(
            "<4sQ2H2L4Q", b"PK\6\6", 44, 0, 0, 0, 0, n, n, nbytes, offset
        ) + struct.pack(
            "<4sLQL", b"PK\6\7", 0, shown.get("place", place), shown.get("disks", 1)
        )
    return (
        end_64
        + struct.pack(
            "<4s4H2LH",
            b"PK\5\6",
            shown["disk"],
            0,
            min(shown["n"], 0xFFFF),
            min(shown["n"], 0xFFFF),
            min(shown["nbytes"], 0xFFFFFFFF),
            min(shown["offset"], 0xFFFFFFFF),
            shown.get("n_comment", len(comment)),
        )
        + comment
    )


def archive(entries, prefix=b"", trailing=b"", **end):
    body, directory = bytearray(prefix), bytearray()
    for entry in entries:
        directory += central_record(entry, len(body) - len(prefix) * end.get("lies", 0))
        body += local_record(entry, len(body))
    end.pop("lies", None)
    ending = end_records(len(entries), len(directory), len(body), **end)
    return bytes(body + directory) + ending + trailing


def members(value, records=None, root="m", **others):
    """The usual entries; `others` replace members by name, None leaves one out."""
    pickled = value if value.startswith(b"\x80") else program(value)
    records = {"0": bytes(range(16))} if records is None else records
    contents = {"data.pkl": pickled, "byteorder": b"little"}
    contents |= {f"data/{key}": data for key, data in records.items()}
    contents |= {"version": b"3\n", **others}
    return [
        Entry(f"{root}/{member}", data, align=64)
        for member, data in contents.items()
        if data is not None
    ]


def file(value, records=None, end=None, **others):
    """A whole checkpoint."""
    return archive(members(value, records, **others), **(end or {}))


def changed(entries, member, **changes):
    """Entries with one of them changed, by the name below the root folder."""
    return [
        replace(entry, **changes)
        if entry.raw_name().endswith(b"/" + member.encode())
        else entry
        for entry in entries
    ]


GOOD = mapping(("w", tensor()))
