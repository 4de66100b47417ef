"""An output that a later run finds again: kept, taken by one, never a stranger's."""

import os
import stat

import pytest

from release.errors import NoSpaceError, OutputError
from release.formats.input import InputFile
from release.formats.kept_output import KeptOutput
from release.formats.output import remove_stale_parts
from release.formats.parts import try_lock


@pytest.fixture
def target(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.fixture
def part(tmp_path):
    return tmp_path / ".model.safetensors.repair"


def test_what_was_written_is_found_by_the_next_run(target, part):
    with KeptOutput.open(target, part) as output:
        output.resize(10)
        output.write_at(3, b"abc")

    with KeptOutput.open(target, part) as output:
        assert output.nbytes == 10
        found = bytearray(10)
        output.read_into(0, memoryview(found))

    assert found == b"\0\0\0abc\0\0\0\0"
    assert not target.exists()


def test_published_output_replaces_the_target_and_keeps_its_mode(target, part):
    target.write_text("old")
    target.chmod(0o604)

    with KeptOutput.open(target, part) as output:
        output.resize(3)
        output.write_at(0, b"new")
        output.publish()

    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o604
    assert not part.exists()


def test_size_other_than_the_planned_one_is_not_published(target, part):
    with KeptOutput.open(target, part) as output:
        output.resize(3)
        output.write_at(0, b"more than that")
        with pytest.raises(OutputError, match="holds 14 bytes, expected 3"):
            output.publish()

    assert not target.exists()


def test_aborted_output_is_gone(target, part):
    with KeptOutput.open(target, part) as output:
        output.resize(3)
        output.abort()

    assert not part.exists()


def test_resize_cuts_what_is_too_long(target, part):
    part.write_bytes(b"0123456789")

    with KeptOutput.open(target, part) as output:
        output.resize(4)

    assert part.read_bytes() == b"0123"


def test_clone_shares_all_bytes_or_says_that_it_cannot(target, part, tmp_path):
    (tmp_path / "source").write_bytes(b"source" * 1000)

    with (
        InputFile(tmp_path / "source") as source,
        KeptOutput.open(target, part) as output,
    ):
        is_clone = output.clone(source)

    assert part.read_bytes() == (b"source" * 1000 if is_clone else b"")


def test_second_writer_is_refused(target, part):
    with (
        KeptOutput.open(target, part),
        pytest.raises(OutputError, match="being written") as refused,
    ):
        KeptOutput.open(target, part)

    assert refused.value.code == "output-busy"
    assert part.exists()


def test_part_that_was_published_meanwhile_is_left_alone(target, part, monkeypatch):
    def publish_first(descriptor):
        part.rename(target)
        return try_lock(descriptor)

    part.write_text("whole")
    monkeypatch.setattr("release.formats.kept_output.try_lock", publish_first)

    with pytest.raises(OutputError) as refused:
        KeptOutput.open(target, part)

    assert refused.value.code == "output-busy"
    assert target.read_text() == "whole"


def test_removing_stale_parts_leaves_it_alone(target, part, tmp_path):
    with KeptOutput.open(target, part) as output:
        output.resize(3)

    assert remove_stale_parts(tmp_path) == []
    assert part.exists()


@pytest.mark.parametrize("kind", ["symlink", "folder", "pipe", "second name"])
def test_stranger_under_the_name_is_refused(target, part, tmp_path, kind):
    other = tmp_path / "other"
    other.write_text("mine")
    {
        "symlink": lambda: part.symlink_to(other),
        "folder": part.mkdir,
        "pipe": lambda: os.mkfifo(part),
        "second name": lambda: os.link(other, part),
    }[kind]()

    with pytest.raises(OutputError):
        KeptOutput.open(target, part)

    assert other.read_text() == "mine"


def test_full_disk_is_named_with_the_bytes_that_are_needed(target, part, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("release.formats.output.os.posix_fallocate", full)

    with (
        KeptOutput.open(target, part) as output,
        pytest.raises(NoSpaceError) as refused,
    ):
        output.resize(12345)

    assert refused.value.needed == 12345
