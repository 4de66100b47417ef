"""Hostile zip archives, and files that are no archives at all."""

import bz2
import io
import struct
import tarfile
import zipfile
import zlib

import pytest

from release.errors import CheckpointError


def with_members(*extra, **changes):
    """A case: the usual members, more of them, and end record changes."""
    return lambda k: k.archive(
        [*k.members(k.GOOD), *extra_entries(k, extra)], **changes
    )


def extra_entries(k, pairs):
    return [k.Entry(name, data) for name, data in pairs]


def one_changed(member, **changes):
    return lambda k: k.archive(k.changed(k.members(k.GOOD), member, **changes))


def deflated(k):
    raw = zlib.compress(bytes(64 * 2**20), 9)[2:-4]
    entry = k.Entry("m/data/0", raw, method=8)
    return k.archive([*k.members(k.GOOD, {}), entry])


def overlapping(k):
    entries = k.members(k.GOOD)
    inner = entries[0]
    return k.archive([*entries, k.Entry("m/data/9", inner.data, offset=20)])


def two_at_one_place(k):
    entries = k.members(k.GOOD)
    alias = k.Entry("m/data/9", entries[0].data, offset=0)
    return k.archive([*entries, alias])


def patched(at_end, raw):
    """A case: the good file with bytes replaced, counted from its end."""

    def make(k):
        content = bytearray(k.file(k.GOOD))
        begin = len(content) - at_end
        content[begin : begin + len(raw)] = raw
        return bytes(content)

    return make


def zipped(**members):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as made:
        for name, data in members.items():
            made.writestr(name.replace("__", "/"), data)
    return target.getvalue()


def tarred():
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as made:
        made.addfile(tarfile.TarInfo("pickle"))
    return target.getvalue()


ARCHIVES = {
    # two truths
    "two pickles": (with_members(("m/data.pkl", b"N.")), "zip-duplicate"),
    "evil pickle first": (
        lambda k: k.archive(
            [k.Entry("m/data.pkl", b"cposix\nsystem\n."), *k.members(k.GOOD)]
        ),
        "zip-duplicate",
    ),
    "two records of one name": (with_members(("m/data/0", b"")), "zip-duplicate"),
    "names that differ in case": (with_members(("m/Data.PKL", b"")), "zip-duplicate"),
    "another name at its place": (
        one_changed("data/0", local={"name": b"m/data/1"}), "zip-mismatch"
    ),
    "longer name at its place": (
        one_changed("data/0", local={"name": b"m/data/00"}), "zip-mismatch"
    ),
    "another method at its place": (one_changed("data/0", local={"method": 8}), None),
    "other flags at its place": (
        one_changed("data/0", local={"flags": 0x0008}), "zip-mismatch"
    ),
    "another size at its place": (
        one_changed("data/0", flags=0, local={"nbytes": 4}), "zip-mismatch"
    ),
    "another CRC at its place": (
        one_changed("data/0", flags=0, local={"crc": 1}), "zip-mismatch"
    ),
    "stored in fewer bytes": (
        lambda k: bytes(_packed_differently(k)), "zip-mismatch"
    ),
    "end records that disagree": (
        lambda k: k.archive(k.members(k.GOOD), wide=True, n=3), "zip-mismatch"
    ),
    # flags and methods
    "record that is a folder": (one_changed("data/0", attributes=0x10), "zip-flags"),
    "pickle that is a folder": (one_changed("data.pkl", attributes=0xFF), "zip-flags"),
    "encrypted": (one_changed("data/0", flags=0x0809), "zip-flags"),
    "encrypted at its place": (
        one_changed("data/0", local={"flags": 0x0809}), "zip-flags"
    ),
    "strongly encrypted": (one_changed("data/0", flags=0x0840), "zip-flags"),
    "patch data": (one_changed("data/0", flags=0x0820), "zip-flags"),
    "hidden header": (one_changed("data/0", flags=0x2800), "zip-flags"),
    "inflating from 64 KB": (deflated, "compressed"),
    "compressed pickle": (one_changed("data.pkl", method=8), "compressed"),
    "bzip2": (
        lambda k: k.archive(
            [*k.members(k.GOOD, {}), k.Entry("m/data/0", bz2.compress(b"x"), method=12)]
        ),
        "compressed",
    ),
    # members
    "second pickle": (with_members(("m/other.pkl", b"N.")), "zip-member"),
    "second pickle in the data": (with_members(("m/data/x.PICKLE", b"")), "zip-member"),
    "climbing": (with_members(("../../x", b"")), "zip-member"),
    "climbing below the root": (with_members(("m/../x", b"")), "zip-member"),
    "absolute": (with_members(("/etc/passwd", b"")), "zip-member"),
    "backslash": (with_members(("m\\x", b"")), "zip-member"),
    "empty component": (with_members(("m//x", b"")), "zip-member"),
    "folder": (with_members(("m/x/", b"")), "zip-member"),
    "dot": (with_members(("m/./x", b"")), "zip-member"),
    "NUL": (with_members(("m/data.pkl\0.txt", b"")), "zip-member"),
    "line feed": (with_members(("m/a\nb", b"")), "zip-member"),
    "no name": (with_members(("", b"")), "zip-member"),
    "long name": (with_members(("m/" + "x" * 1100, b"")), "zip-member"),
    "name that is not UTF-8": (with_members((b"m/\xff", b"")), "zip-member"),
    "two roots": (with_members(("n/x", b"")), "zip-member"),
    "no root": (with_members(("x", b"")), "zip-member"),
    "more members than allowed": (
        with_members(wide=True, n=0xFFFF, n_64=2**20), "zip-member"
    ),
    # places
    "bytes before": (with_members(prefix=b"MZ" + bytes(62)), "format"),
    "archive before": (
        lambda k: k.archive(k.members(k.GOOD), prefix=k.file(k.GOOD)), "format"
    ),
    "archive before, hidden": (
        lambda k: k.archive(k.members(k.GOOD), prefix=k.file(k.GOOD), lies=1), "format"
    ),
    "one record inside another": (overlapping, "format"),
    "two records at one place": (two_at_one_place, "format"),
    "record beyond the directory": (one_changed("data/0", nbytes=2**20), "format"),
    "record that takes the directory's bytes": (
        lambda k: k.archive(
            [
                *k.members(
                    k.mapping(("w", k.tensor(k.storage(numel=15), shape=(15,)))), {}
                ),
                k.Entry("m/data/0", bytes(16), nbytes=60),
            ]
        ),
        "format",
    ),
    "record beyond the file": (one_changed("version", nbytes=2**40), "format"),
    "header in the directory": (one_changed("version", offset=2**20), "format"),
    "header beyond 64 bits": (one_changed("version", offset=2**64 - 1), "format"),
    "header that is none": (one_changed("version", offset=9), "format"),
    # the end
    "no end record": (lambda k: k.file(k.GOOD)[:-22], "format"),
    "half of it": (lambda k: k.file(k.GOOD)[: len(k.file(k.GOOD)) // 2], "format"),
    "cut end record": (lambda k: k.file(k.GOOD)[:-3], "format"),
    "comment beyond the end": (with_members(n_comment=9), "format"),
    "second disk": (with_members(disk=1), "format"),
    "too few members": (with_members(n=2), "format"),
    "too many members": (with_members(n=9), "format"),
    "directory elsewhere": (with_members(offset=5), "format"),
    "directory too long": (with_members(nbytes=9), "format"),
    "wide record elsewhere": (with_members(wide=True, place=7), "format"),
    "wide record beyond": (with_members(wide=True, place=2**63), "format"),
    "wide record on disk two": (with_members(wide=True, disks=2), "format"),
    "comments in the directory": (
        lambda k: k.file(k.GOOD).replace(b"PK\1\2", b"PK\1\3", 1), "format"
    ),
    # texts and pickles
    "no version": (lambda k: k.file(k.GOOD, version=None), "format"),
    "version of nothing": (lambda k: k.file(k.GOOD, version=b"0\n"), "format"),
    "version of the future": (lambda k: k.file(k.GOOD, version=b"11\n"), "format"),
    "version that is no number": (lambda k: k.file(k.GOOD, version=b"x"), "format"),
    "version that is negative": (lambda k: k.file(k.GOOD, version=b"-3"), "format"),
    "long version": (lambda k: k.file(k.GOOD, version=b"3" * 65), "format"),
    "middle-endian": (lambda k: k.file(k.GOOD, byteorder=b"middle"), "byteorder"),
    "no endian": (lambda k: k.file(k.GOOD, byteorder=b""), "byteorder"),
    "long endian": (lambda k: k.file(k.GOOD, byteorder=b"little" * 20), "byteorder"),
    "TorchScript": (with_members(("m/constants.pkl", b"N.")), "torchscript"),
    "no pickle": (lambda k: k.archive(k.members(k.GOOD)[1:]), "format"),
    "pickle of 65 MiB": (
        lambda k: k.file(k.program(k.NONE + bytes(65 * 2**20))), "pickle-size"
    ),
    # damage
    "damaged pickle": (one_changed("data.pkl", crc=1), "crc"),
    "damaged version": (one_changed("version", crc=1), "crc"),
    "damaged byte order": (one_changed("byteorder", crc=1), "crc"),
    "empty record with a CRC": (
        lambda k: k.archive(
            k.changed(
                k.members(
                    k.mapping(("w", k.tensor(k.storage(numel=0), shape=(0,)))),
                    {"0": b""},
                ),
                "data/0",
                crc=7,
            )
        ),
        "crc",
    ),
    "record one byte short": (
        lambda k: k.file(k.GOOD, {"0": bytes(15)}), "size-mismatch"
    ),
    "record one byte long": (
        lambda k: k.file(k.GOOD, {"0": bytes(17)}), "size-mismatch"
    ),
    "no record": (lambda k: k.file(k.GOOD, {}), "missing-record"),
}  # fmt: skip


def _packed_differently(k):
    """The size of data/0 in the directory, changed in one of its two fields only."""
    content = bytearray(k.file(k.GOOD))
    at = content.rindex(b"m/data/0") - 46
    content[at + 20 : at + 24] = struct.pack("<L", 12)
    return content


@pytest.mark.parametrize("case", ARCHIVES)
def test_hostile_archive_is_refused(kit, parsed, case):
    make, code = ARCHIVES[case]

    with pytest.raises(CheckpointError) as caught:
        parsed(make(kit))

    assert caught.value.code == (code or "compressed")
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)
    assert caught.value.hint


FILES = {
    "empty": (b"", "format", "empty"),
    "text": (b"hello\n", "format", "text"),
    "page": (b"<!doctype html><html>", "format", "web page"),
    "json": (b'{"a": 1}', "format", "JSON"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(30), "format", "7-Zip"),
    "rar": (b"Rar!\x1a\x07" + bytes(30), "format", "RAR"),
    "gzip": (b"\x1f\x8b" + bytes(30), "format", "gzip"),
    "tar": (tarred(), "format", "tar"),
    "gguf": (b"GGUF\3\0\0\0" + bytes(30), "format", "GGUF"),
    "npy": (b"\x93NUMPY\1\0" + bytes(30), "format", "NumPy"),
    "zeros": (bytes(4096), "format", "unknown"),
    "empty zip": (b"PK\5\6" + bytes(18), "format", "empty zip"),
    "another zip": (zipped(word__document="x"), "format", "without data.pkl"),
    "lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "lfs-pointer",
        "LFS",
    ),
    "legacy": (
        b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.",
        "format",
        "before 1.6",
    ),
    "pickle": (b"\x80\x02}q\0.", "format", "bare pickle"),
    "pickle of protocol 4": (b"\x80\x04\x95\0", "format", "bare pickle"),
    "safetensors": (
        struct.pack("<Q", 2) + b"{}",
        "format",
        "safetensors file under another suffix",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_what_is_no_archive_is_named(parsed, case):
    content, code, text = FILES[case]

    with pytest.raises(CheckpointError) as caught:
        parsed(content)

    assert caught.value.code == code
    assert text in str(caught.value)
    assert caught.value.hint
