"""Stale parts: removed when their writer is gone, never otherwise."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

import release
from release.errors import WriteError
from release.formats.output import OutputFile, remove_stale_parts

KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from release.formats.output import OutputFile
output = OutputFile.create(Path(sys.argv[1]), 1000)
output.write_at(500, b"half")
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed_writer(path):
    root = Path(release.__file__).parents[1]
    subprocess.run(
        [sys.executable, "-c", KILLED_WRITER, str(path)],
        env={**os.environ, "PYTHONPATH": str(root)},
        check=False,
    )


def test_part_of_a_killed_writer_is_removed(tmp_path):
    killed_writer(tmp_path / "model")
    (part,) = tmp_path.iterdir()

    removed = remove_stale_parts(tmp_path)

    assert removed == [part]
    assert list(tmp_path.iterdir()) == []


def test_part_of_a_living_writer_is_kept(tmp_path):
    with OutputFile.create(tmp_path / "model", 10) as output:
        assert remove_stale_parts(tmp_path) == []
        output.write_at(0, b"0123456789")
        output.publish()

    assert (tmp_path / "model").read_bytes() == b"0123456789"


def test_part_is_locked_until_it_has_its_name(tmp_path, monkeypatch):
    seen = []
    replace = Path.replace
    monkeypatch.setattr(
        Path,
        "replace",
        lambda part, to: (seen.append(remove_stale_parts(tmp_path)), replace(part, to)),
    )

    with OutputFile.create(tmp_path / "model", 1, overwrite=True) as output:
        output.publish()

    assert seen == [[]]
    assert (tmp_path / "model").exists()


def test_stale_part_of_our_own_number_gives_way(tmp_path):
    part = tmp_path / f".model.{os.getpid()}.part"
    part.write_bytes(b"from an earlier process of this number")

    with OutputFile.create(tmp_path / "model", 3) as output:
        output.write_at(0, b"new")
        output.publish()

    assert (tmp_path / "model").read_bytes() == b"new"
    assert not part.exists()


def test_part_taken_for_stale_before_its_lock_is_made_again(tmp_path, monkeypatch):
    flock, seen = fcntl.flock, []

    def unlink_then_flock(descriptor, operation):
        if not seen:
            seen.extend(tmp_path.iterdir())
            seen[0].unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", unlink_then_flock)

    with OutputFile.create(tmp_path / "model", 3) as output:
        output.write_at(0, b"new")
        output.publish()

    assert len(seen) == 1
    assert (tmp_path / "model").read_bytes() == b"new"


def test_new_part_under_a_stale_ones_name_is_kept(tmp_path, monkeypatch):
    part = tmp_path / ".model.1.part"
    part.write_bytes(b"stale")
    flock = fcntl.flock

    def replace_then_flock(descriptor, operation):
        part.unlink()
        part.write_bytes(b"alive")
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", replace_then_flock)

    assert remove_stale_parts(tmp_path) == []
    assert part.read_bytes() == b"alive"


@pytest.mark.parametrize(
    "name",
    [
        "model.123.part",
        ".model.part",
        ".model.x1.part",
        ".model.123.part.txt",
        ".123.part",
        ".model.123.PART",
        "model.safetensors",
    ],
)
def test_file_of_another_pattern_is_kept(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")

    assert remove_stale_parts(tmp_path) == []
    assert (tmp_path / name).exists()


def test_symlink_of_our_pattern_and_its_target_are_kept(tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"x")
    link = tmp_path / ".model.1.part"
    link.symlink_to(victim)

    assert remove_stale_parts(tmp_path) == []
    assert link.is_symlink()
    assert victim.exists()


@pytest.mark.timeout(10)
def test_directory_and_pipe_of_our_pattern_are_kept(tmp_path):
    (tmp_path / ".model.1.part").mkdir()
    os.mkfifo(tmp_path / ".model.2.part")

    assert remove_stale_parts(tmp_path) == []
    assert len(list(tmp_path.iterdir())) == 2


def test_part_of_another_user_is_kept(tmp_path, monkeypatch):
    part = tmp_path / ".model.1.part"
    part.write_bytes(b"x")
    monkeypatch.setattr(os, "geteuid", lambda: part.stat().st_uid + 1)

    assert remove_stale_parts(tmp_path) == []
    assert part.exists()


def test_parts_in_subfolders_are_not_looked_for(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / ".model.1.part").write_bytes(b"x")

    assert remove_stale_parts(tmp_path) == []


def test_folder_that_cannot_be_listed_is_an_error(tmp_path):
    with pytest.raises(WriteError):
        remove_stale_parts(tmp_path / "missing")
