"""Zip archives: readable by others, byte for byte the same, of the planned size."""

import os
import random
import shutil
import stat
import subprocess
import sys
import zipfile

import pytest

from release.errors import InputError, IntegrityError, OutputError, WriteError
from release.formats import archive
from release.formats.archive import ZipMember, write_stored_zip, zip_nbytes


@pytest.fixture
def members(tmp_path):
    large = tmp_path / "large.bin"
    large.write_bytes(random.Random(5).randbytes(9 * 2**20 + 1))  # noqa: S311
    empty = tmp_path / "empty.bin"
    empty.write_bytes(b"")
    return [
        ZipMember("model.safetensors", large),
        ZipMember("LICENSE", b"Apache-2.0\n"),
        ZipMember("docs/grüße.md", "# grüße\n".encode()),
        ZipMember("empty.bin", empty),
        ZipMember("nothing", b""),
    ]


def content_of(member):
    if isinstance(member.source, bytes):
        return member.source
    return member.source.read_bytes()


def planned_nbytes(members):
    return zip_nbytes({member.name: len(content_of(member)) for member in members})


def test_zipfile_reads_every_member(tmp_path, members):
    target = tmp_path / "release.zip"

    write_stored_zip(target, members)

    with zipfile.ZipFile(target) as archive_file:
        assert archive_file.testzip() is None
        found = {name: archive_file.read(name) for name in archive_file.namelist()}
    assert found == {member.name: content_of(member) for member in members}


def test_members_are_sorted_stored_and_without_a_time_of_their_own(tmp_path, members):
    target = tmp_path / "release.zip"

    write_stored_zip(target, members)

    with zipfile.ZipFile(target) as archive_file:
        infos = archive_file.infolist()
    assert [info.filename for info in infos] == sorted(m.name for m in members)
    assert {info.compress_type for info in infos} == {zipfile.ZIP_STORED}
    assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}
    assert {info.external_attr >> 16 for info in infos} == {stat.S_IFREG | 0o644}
    assert {info.create_system for info in infos} == {3}


def test_archive_passes_the_test_of_a_command_line_tool(tmp_path, members):
    target = tmp_path / "release.zip"
    write_stored_zip(target, members)
    unzip = shutil.which("unzip")
    command = [unzip, "-t"] if unzip else [sys.executable, "-m", "zipfile", "-t"]

    result = subprocess.run([*command, target], capture_output=True, check=False)

    assert result.returncode == 0, result.stdout


def test_planned_size_is_the_real_size(tmp_path, members):
    target = tmp_path / "release.zip"
    planned = planned_nbytes(members)

    write_stored_zip(target, members)

    assert target.stat().st_size == planned


def test_same_members_give_the_same_bytes(tmp_path, members):
    first, second = tmp_path / "first.zip", tmp_path / "second.zip"
    write_stored_zip(first, members)
    os.utime(tmp_path / "large.bin", (0, 0))
    (tmp_path / "large.bin").chmod(0o600)

    write_stored_zip(second, members[::-1])

    assert first.read_bytes() == second.read_bytes()


def test_bytes_of_a_small_archive_never_change(tmp_path):
    target = tmp_path / "release.zip"

    write_stored_zip(target, [ZipMember("a", b"hello world")])

    assert target.read_bytes() == bytes.fromhex(
        """
        504b0304 1400 0000 0000 0000 2100 85114a0d 0b000000 0b000000 0100 0000
        61 68656c6c6f20776f726c64
        504b0102 1403 1400 0000 0000 0000 2100 85114a0d 0b000000 0b000000 0100 0000
        0000 0000 0000 0000a481 00000000 61
        504b0506 0000 0000 0100 0100 2f000000 2a000000 0000
        """
    )


def test_archive_of_nothing_is_an_archive(tmp_path):
    target = tmp_path / "empty.zip"

    write_stored_zip(target, [])

    with zipfile.ZipFile(target) as archive_file:
        assert archive_file.namelist() == []
    assert target.stat().st_size == planned_nbytes([]) == 22


@pytest.mark.parametrize("limit", [0, 5, 9_000_000, 9_437_200])
def test_sizes_and_offsets_beyond_the_limit_move_to_zip64(
    tmp_path, members, monkeypatch, limit
):
    real = archive._LIMIT_32
    monkeypatch.setattr(archive, "_LIMIT_32", limit)
    monkeypatch.setattr(
        archive, "_shown", lambda value: real if value >= limit else value
    )
    target = tmp_path / "release.zip"
    planned = planned_nbytes(members)

    write_stored_zip(target, members)

    assert target.stat().st_size == planned
    with zipfile.ZipFile(target) as archive_file:
        assert archive_file.testzip() is None
        sizes = {info.filename: info.file_size for info in archive_file.infolist()}
    assert sizes == {member.name: len(content_of(member)) for member in members}


def test_more_members_than_16_bits_count_are_all_found(tmp_path):
    target = tmp_path / "many.zip"
    many = [ZipMember(f"{i:05}", b"") for i in range(65_536)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive, "_check_written", lambda *_args: None)
        patch.setattr(archive, "_write_member", fast_empty_member)
        write_stored_zip(target, many)

    with zipfile.ZipFile(target) as archive_file:
        assert len(archive_file.namelist()) == 65_536
    end_64 = target.read_bytes()[-98:-42]
    assert end_64[:4] == b"PK\x06\x06"
    assert int.from_bytes(end_64[32:40], "little") == 65_536


def fast_empty_member(_output, _item):
    return 0


@pytest.mark.parametrize(
    "name",
    ["../x", "/x", "a//b", "C:x", "a\\b", "NUL.txt", "x.", "a/.git/b", "", "a\0"],
)
def test_member_name_that_escapes_is_refused(tmp_path, name):
    with pytest.raises(IntegrityError) as caught:
        write_stored_zip(tmp_path / "x.zip", [ZipMember(name, b"")])

    assert caught.value.code == "path"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("other", ["readme.md", "README.md"])
def test_members_that_are_one_file_somewhere_are_refused(tmp_path, other):
    members = [ZipMember("README.md", b""), ZipMember(other, b"")]

    with pytest.raises(IntegrityError):
        write_stored_zip(tmp_path / "x.zip", members)


def test_missing_source_leaves_nothing(tmp_path):
    with pytest.raises(InputError):
        write_stored_zip(tmp_path / "x.zip", [ZipMember("a", tmp_path / "none")])

    assert list(tmp_path.iterdir()) == []


def test_source_as_target_is_refused(tmp_path):
    source = tmp_path / "a.bin"
    source.write_bytes(b"x")

    with pytest.raises(OutputError) as caught:
        write_stored_zip(source, [ZipMember("a", source)])

    assert caught.value.code == "output-is-input"
    assert source.read_bytes() == b"x"


@pytest.mark.parametrize("change", [b"longer than before", b"b"])
def test_source_that_changes_meanwhile_leaves_nothing(tmp_path, monkeypatch, change):
    source = tmp_path / "a.bin"
    source.write_bytes(b"a")
    os.utime(source, (0, 0))
    create = archive.OutputFile.create

    def change_then_create(*args, **options):
        source.write_bytes(change)
        return create(*args, **options)

    monkeypatch.setattr(archive.OutputFile, "create", change_then_create)

    with pytest.raises(InputError) as caught:
        write_stored_zip(tmp_path / "x.zip", [ZipMember("a", source)])

    assert caught.value.code == "input-changed"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


def test_source_that_changes_while_it_is_read_leaves_nothing(tmp_path, monkeypatch):
    source = tmp_path / "a.bin"
    source.write_bytes(b"a")
    os.utime(source, (0, 0))
    write_at = archive.OutputFile.write_at

    def change_then_write(output, offset, data):
        source.write_bytes(b"b")
        write_at(output, offset, data)

    monkeypatch.setattr(archive.OutputFile, "write_at", change_then_write)

    with pytest.raises(InputError) as caught:
        write_stored_zip(tmp_path / "x.zip", [ZipMember("a", source)])

    assert caught.value.code == "input-changed"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("damaged", range(4))
def test_archive_that_reads_back_differently_is_not_published(
    tmp_path, monkeypatch, damaged
):
    pwrite, calls = os.pwrite, []

    def flip_one(descriptor, data, at):
        block = bytearray(data)
        block[0] ^= len(calls) == damaged
        calls.append(at)
        return pwrite(descriptor, block, at)

    monkeypatch.setattr(os, "pwrite", flip_one)
    members = [ZipMember("a", b"x"), ZipMember("b", b"")]

    with pytest.raises(WriteError, match="does not read back"):
        write_stored_zip(tmp_path / "x.zip", members)

    assert len(calls) == 4
    assert list(tmp_path.iterdir()) == []
