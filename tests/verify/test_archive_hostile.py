"""Archives that lie about themselves: each is refused, and the reason is said."""

import struct
import zipfile

import pytest

from release.errors import IntegrityError
from release.verify.archive import open_archive

SYMLINK = 0o120777 << 16
DEVICE = 0o020666 << 16
FOLDER = 0o040755 << 16


def second_name(name):
    """The extra field by which some programs know a member under another name."""
    content = b"\x01" + bytes(4) + name
    return struct.pack("<2H", 0x7075, len(content)) + content


def named(name):
    return lambda z: z.build(z.Part("a"), z.Part(name))


def with_part(**fields):
    return lambda z: z.build(z.Part("a"), z.Part("b", **fields))


def hidden_member(z):
    """A whole member between two others that the directory does not list."""
    inner = z.build(z.Part("x"))[:35]
    return z.build(z.Part("a", behind=inner), z.Part("b"))


def overlapping(z):
    return z.build(z.Part("a", data=z.build(z.Part("in"))), z.Part("in", offset=31))


def bomb(z):
    return z.python_zip({"zeros": bytes(80 * 2**20)}, zipfile.ZIP_DEFLATED)


CASES = {
    "climbs out": (named("../b"), "path", "relative"),
    "climbs out within": (named("x/../../b"), "path", "relative"),
    "absolute": (named("/etc/passwd"), "path", "empty"),
    "drive": (named("C:b"), "path", "colon"),
    "backslash": (named("..\\b"), "path", "backslash"),
    "line break": (named("b\nc"), "path", "control"),
    "bidi": (named("b\u202ec"), "path", "control"),
    "device of Windows": (named("NUL.txt"), "path", "device"),
    "hidden folder of git": (named(".git/hooks/x"), "path", "reserved"),
    "no name": (named(""), "path", "empty"),
    "folder that climbs out": (
        lambda z: z.build(z.Part("../", b"")),
        "path",
        "relative",
    ),
    "not UTF-8": (named(b"\xff"), "zip-member", "not UTF-8"),
    "two of one name": (named("a"), "zip-duplicate", "member a is there twice"),
    "two but for case": (
        named("A"),
        "zip-duplicate",
        "members a and A differ in case only",
    ),
    "file and folder": (named("a/b"), "zip-duplicate", "a is a file and the folder"),
    "second name": (
        with_part(extra=second_name(b"../b")),
        "zip-mismatch",
        "second name ../b",
    ),
    "symlink": (with_part(attributes=SYMLINK), "zip-member", "b is a symlink"),
    "special file": (with_part(attributes=DEVICE), "zip-member", "a special file"),
    "file marked as folder": (with_part(attributes=0x10), "zip-member", "a folder"),
    "file with a folder's mode": (with_part(attributes=FOLDER), "zip-member", "by its"),
    "folder with data": (named("c/"), "zip-member", "c/ is a folder by its name"),
    "folder with bytes": (
        lambda z: z.build(z.Part("c/", b"", packed=b"\x03\0more", method=8)),
        "zip-member",
        "c/ is a folder by its name",
    ),
    "encrypted": (with_part(flags=1), "zip-flags", "0x0001 (encrypted"),
    "encrypted directory": (with_part(flags=0x2000), "zip-flags", "0x2000"),
    "encrypted in place only": (
        with_part(local=(("flags", 1),)),
        "zip-flags",
        "encrypted",
    ),
    "other compression": (with_part(method=14), "zip-compressed", "zip method 14"),
    "method differs": (with_part(local=(("method", 8),)), "zip-mismatch", "method"),
    "name differs": (with_part(local=(("name", b"c"),)), "zip-mismatch", "its name"),
    "size differs": (with_part(local=(("nbytes", 5),)), "zip-mismatch", "sizes or CRC"),
    "packed size differs": (
        with_part(local=(("n_packed", 5),)),
        "zip-mismatch",
        "sizes or CRC",
    ),
    "CRC differs": (with_part(local=(("crc", 5),)), "zip-mismatch", "sizes or CRC"),
    "size lies twice": (with_part(nbytes=9), "zip-mismatch", "in 4 bytes"),
    "sizes that follow differ": (
        with_part(flags=8, local=(("nbytes", 5),)),
        "zip-mismatch",
        "sizes or CRC",
    ),
    "sizes that follow lie": (
        with_part(flags=8, behind=struct.pack("<3L", 7, 4, 4)),
        "zip-gap",
        "12 bytes behind member b belong to nothing",
    ),
    "hidden member": (hidden_member, "zip-gap", "35 bytes behind member a"),
    "hidden byte": (with_part(behind=b"x"), "zip-gap", "1 bytes behind member b"),
    "overlap": (overlapping, "zip-format", "member in overlaps another"),
    "two in one place": (with_part(offset=0), "zip-format", "overlaps another"),
    "bytes before": (
        lambda z: z.build(z.Part("a"), prefix=b"#!/bin/sh\n"),
        "zip-format",
        "10 bytes precede",
    ),
    "bytes before nothing": (lambda z: z.build(prefix=b"x"), "zip-gap", "precede"),
    "bytes behind": (
        lambda z: z.build(z.Part("a"), trailing=b"more"),
        "zip-gap",
        "4 bytes follow the archive",
    ),
    "fewer members than said": (
        lambda z: z.build(z.Part("a"), n=2),
        "zip-format",
        "ends within an entry",
    ),
    "more members than said": (
        lambda z: z.build(z.Part("a"), z.Part("b"), n=1),
        "zip-format",
        "too many",
    ),
    "very many members": (
        lambda z: z.build(z.Part("a"), n=10_001),
        "zip-member",
        "lists 10,001 members",
    ),
    "bomb": (bomb, "zip-size", "unpacks to 83,886,080 bytes"),
    "cut": (lambda z: z.build(z.Part("a"))[:-1], "zip-format", "no end record"),
    "half": (lambda z: z.build(z.Part("a"))[:40], "zip-format", "no end record"),
    "nothing": (lambda _z: b"", "zip-format", "no end record"),
    "no archive": (lambda _z: b"<!DOCTYPE html>" * 9, "zip-format", "not a zip"),
}


@pytest.mark.parametrize("case", CASES)
def test_hostile_archive_is_refused_with_its_reason(tmp_path, zips, case):
    make, code, words = CASES[case]
    path = tmp_path / "release.zip"
    path.write_bytes(make(zips))

    with pytest.raises(IntegrityError) as caught, open_archive(path):
        pass

    assert caught.value.code == code
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()
    assert caught.value.hint
    assert caught.value.exit_code == 5


def test_what_the_cases_break_is_whole_without_them(tmp_path, zips):
    path = tmp_path / "release.zip"
    path.write_bytes(zips.build(zips.Part("a"), zips.Part("c/b", attributes=0x20)))

    with open_archive(path) as archive:
        names = [member.name for member in archive.members]

    assert names == ["a", "c/b"]
