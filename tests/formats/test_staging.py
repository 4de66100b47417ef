"""A folder that appears whole, or not at all."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

import pytest

from release.errors import OutputError, OutputExistsError, WriteError
from release.formats import staging
from release.formats.staging import StagingFolder

MARK = "manifest.json"


def fill(folder, text="new"):
    (folder / MARK).write_text(text)
    (folder / "sub").mkdir()
    (folder / "sub" / "file").write_text(text)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def target(tmp_path):
    return tmp_path / "release"


@pytest.fixture
def older(target):
    """A complete older folder at the target."""
    target.mkdir()
    fill(target, "old")
    return target


def test_folder_appears_with_all_its_files(target):
    with StagingFolder(target, mark=MARK) as folder:
        fill(folder.path)
        assert not target.exists()
        folder.publish()

    assert names(target) == [MARK, "sub"]
    assert names(target.parent) == ["release"]


def test_folder_that_is_not_published_leaves_nothing(target):
    with StagingFolder(target, mark=MARK) as folder:
        fill(folder.path)

    assert names(target.parent) == []


def test_failure_inside_leaves_nothing(target):
    def fail():
        with StagingFolder(target, mark=MARK) as folder:
            fill(folder.path)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert names(target.parent) == []


def test_missing_parents_are_made(tmp_path):
    target = tmp_path / "a" / "b" / "release"

    with StagingFolder(target, mark=MARK) as folder:
        folder.publish()

    assert target.is_dir()


def test_empty_folder_may_be_taken(target):
    target.mkdir()

    with StagingFolder(target, mark=MARK) as folder:
        fill(folder.path)
        folder.publish()

    assert names(target) == [MARK, "sub"]
    assert names(target.parent) == ["release"]


def test_older_folder_is_kept_unless_overwriting_is_asked_for(older):
    with pytest.raises(OutputExistsError) as caught:
        StagingFolder(older, mark=MARK)

    assert caught.value.code == "output-exists"
    assert (older / MARK).read_text() == "old"
    assert names(older.parent) == ["release"]


def test_older_folder_is_replaced_as_a_whole(older):
    (older / "only-in-the-old-one").write_text("x")

    with StagingFolder(older, mark=MARK, overwrite=True) as folder:
        fill(folder.path)
        assert (older / MARK).read_text() == "old"
        folder.publish()

    assert names(older) == [MARK, "sub"]
    assert (older / MARK).read_text() == "new"
    assert names(older.parent) == ["release"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_folder_of_someone_else_is_never_replaced(target, overwrite):
    target.mkdir()
    (target / "thesis.txt").write_text("years")

    with pytest.raises(OutputError) as caught:
        StagingFolder(target, mark=MARK, overwrite=overwrite)

    assert caught.value.code == "foreign-folder"
    assert caught.value.exit_code == 9
    assert names(target) == ["thesis.txt"]
    assert names(target.parent) == ["release"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", ["file", "symlink to a folder", "dangling symlink"])
def test_what_is_no_folder_is_refused(target, kind, overwrite):
    (target.parent / "elsewhere").mkdir()
    if kind == "file":
        target.write_text("x")
    else:
        missing = "nowhere" if kind.startswith("dangling") else "elsewhere"
        target.symlink_to(target.parent / missing)

    with pytest.raises(OutputError) as caught:
        StagingFolder(target, mark=MARK, overwrite=overwrite)

    assert caught.value.code == "not-a-folder"
    assert names(target.parent) == ["elsewhere", "release"]


@pytest.mark.parametrize("text", [".", "..", "new/.."])
def test_folder_without_a_name_of_its_own_is_refused(tmp_path, monkeypatch, text):
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)

    with pytest.raises(OutputError) as caught:
        StagingFolder(Path(text), mark=MARK)

    assert caught.value.code == "folder-name"
    assert names(inside) == []


def test_folder_that_appears_meanwhile_is_not_replaced(target):
    with StagingFolder(target, mark=MARK) as folder:
        fill(folder.path)
        target.mkdir()
        fill(target, "of another program")
        with pytest.raises(OutputExistsError):
            folder.publish()

    assert (target / MARK).read_text() == "of another program"
    assert names(target.parent) == ["release"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_foreign_folder_that_appears_meanwhile_is_not_replaced(target, overwrite):
    with StagingFolder(target, mark=MARK, overwrite=overwrite) as folder:
        fill(folder.path)
        target.mkdir()
        (target / "thesis.txt").write_text("years")
        with pytest.raises(OutputError):
            folder.publish()

    assert names(target) == ["thesis.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, FileExistsError])
def test_older_folder_comes_back_when_the_last_step_fails(older, monkeypatch, error):
    def fail(_source, _target):
        raise error

    monkeypatch.setattr(staging, "rename_no_clobber", fail)

    with StagingFolder(older, mark=MARK, overwrite=True) as folder:
        fill(folder.path)
        with pytest.raises((KeyboardInterrupt, OutputError)):
            folder.publish()

    assert (older / MARK).read_text() == "old"
    assert names(older.parent) == ["release"]


def test_older_folder_that_a_kill_left_aside_comes_back(target):
    aside = target.with_name(".release.999999.old")
    aside.mkdir()
    fill(aside, "old")

    with pytest.raises(OutputExistsError):
        StagingFolder(target, mark=MARK)

    assert (target / MARK).read_text() == "old"
    assert names(target.parent) == ["release"]


def test_leftovers_of_dead_writers_are_removed(target):
    for name in (".release.999999.part", ".release.999998.old"):
        (target.parent / name).mkdir()
        (target.parent / name / "big").write_text("x")
    (target.parent / ".other.999999.part").mkdir()

    target.mkdir()
    with StagingFolder(target, mark=MARK) as folder:
        folder.publish()

    assert names(target.parent) == [".other.999999.part", "release"]


def test_folder_of_a_living_writer_is_kept(target):
    part = target.with_name(".release.999999.part")
    part.mkdir()
    descriptor = os.open(part, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)

    try:
        with StagingFolder(target, mark=MARK) as folder:
            folder.publish()
        assert names(target.parent) == [part.name, "release"]
    finally:
        os.close(descriptor)


def test_symlink_that_looks_like_a_leftover_is_not_followed(target):
    precious = target.parent / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    target.with_name(".release.999999.part").symlink_to(precious)

    with StagingFolder(target, mark=MARK) as folder:
        folder.publish()

    assert names(precious) == ["file"]


def test_parent_that_is_a_file_is_a_write_error(tmp_path):
    (tmp_path / "file").write_text("x")

    with pytest.raises(WriteError):
        StagingFolder(tmp_path / "file" / "release", mark=MARK)


def test_two_writers_of_one_process_do_not_mix(target):
    with StagingFolder(target, mark=MARK) as first:
        fill(first.path, "first")
        with suppress(OutputError):
            StagingFolder(target, mark=MARK)
        first.publish()

    assert (target / MARK).read_text() == "first"
