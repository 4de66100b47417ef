"""Many files at once, folders of all kinds, and what is no file."""

import json
import os
import shutil
import threading
from pathlib import Path

import pytest
import safetensors.torch
import torch

from release.errors import CheckpointError, InputError
from release.progress import NoProgress
from release.verify.verify import verify

FP16, FP8 = "small-fp16.safetensors", "small-fp8.safetensors"


def check(*paths, level="xxh3", threads=3, progress=None):
    return verify(
        paths, level=level, threads=threads, progress=progress or NoProgress()
    )


def verdicts(report):
    return {file.name: file.verdict for file in report.files}


@pytest.fixture
def files(folder):
    """Two published files in a folder without a manifest."""
    for name in ("manifest.json", "README.md", "small.zip"):
        (folder / name).unlink()
    return folder


def test_reason_names_the_file_once(files, tmp_path):
    (tmp_path / "broken.zip").write_bytes(b"PK")

    (_, broken) = check(tmp_path / "broken.zip", files / FP8).files

    assert broken.verdict == "unreadable"
    assert "broken.zip" not in broken.detail


def test_every_file_has_its_own_answer(files, tmp_path):
    (tmp_path / "page.safetensors").write_text("<html>" * 20)
    (tmp_path / "cut.safetensors").write_bytes((files / FP8).read_bytes()[:-1])

    report = check(
        files / FP16,
        tmp_path / "page.safetensors",
        tmp_path / "nothing.safetensors",
        tmp_path / "cut.safetensors",
        files,
        files / FP8,
    )

    assert [(file.path.name, file.verdict) for file in report.files] == [
        (FP16, "intact"),
        ("page.safetensors", "unreadable"),
        ("nothing.safetensors", "unreadable"),
        ("cut.safetensors", "truncated"),
        (FP16, "intact"),
        (FP8, "intact"),
        (FP8, "intact"),
    ]
    assert [file.error and file.error.code for file in report.files[1:3]] == [
        "header-too-large",
        "not-found",
    ]


def test_command_shows_all_of_them_and_ends_with_5(files, krelease):
    code, out, err = krelease("verify", files / FP16, files / "gone", "--json")

    document = json.loads(out)
    assert code == 5
    assert [file["verdict"] for file in document["files"]] == ["intact", "unreadable"]
    assert document["files"][1]["error"] == "not-found"
    assert "1 of 2 files: " in err


def test_more_files_than_are_opened_at_once(files):
    for at in range(70):
        (files / f"{at:02}.safetensors").hardlink_to(files / FP8)

    report = check(files)

    assert len(report.files) == 72
    assert report.is_intact


@pytest.mark.parametrize("level", ["xxh3", "sha256"])
def test_folder_without_a_manifest_is_its_checkpoints(files, level):
    (files / "vae").mkdir()
    (files / FP8).rename(files / "vae" / FP8)
    (files / "notes.txt").write_text("mine")
    (files / ".hidden.safetensors").write_text("")

    report = check(files, level=level)

    assert verdicts(report) == {FP16: "intact", f"vae/{FP8}": "intact"}
    assert {file.reached.source.kind for file in report.files} == {"header"}


def test_shard_that_is_not_there_is_missing(files):
    (files / FP16).rename(files / "m-00001-of-00003.safetensors")
    (files / FP8).rename(files / "m-00003-of-00003.safetensors")

    report = check(files)

    assert verdicts(report) == {
        "m-00001-of-00003.safetensors": "intact",
        "m-00002-of-00003.safetensors": "missing",
        "m-00003-of-00003.safetensors": "intact",
    }


def test_shard_that_an_index_names_is_missing(files):
    index = {"weight_map": {"a": FP16, "b": "other.safetensors"}}
    (files / "m.safetensors.index.json").write_text(json.dumps(index))

    report = check(files)

    assert verdicts(report)["other.safetensors"] == "missing"


def test_file_of_a_release_under_another_name_is_not_missing(folder):
    (folder / FP16).rename(folder / "renamed.safetensors")

    report = check(folder)

    assert report.is_intact
    assert {file.known_as for file in report.files} == {
        FP16,
        FP8,
        "README.md",
        "small.zip",
    }


def test_other_variant_in_the_place_of_a_file_is_told(folder):
    shutil.copy(folder / FP8, folder / FP16)

    assert verdicts(check(folder))[FP16] == "another variant"


def test_symlink_is_followed_as_an_argument_and_refused_inside(files, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target = shutil.move(files / FP8, tmp_path / "elsewhere" / FP8)
    (files / FP8).symlink_to(target)
    (files / "more").symlink_to(tmp_path / "elsewhere")

    assert check(files / FP8).is_intact
    report = check(files)
    assert verdicts(report) == {
        FP16: "intact",
        FP8: "unreadable",
        "more": "unreadable",
    }
    assert "symlink" in report.files[-1].detail


def test_symlink_in_the_place_of_a_file_of_a_release_is_refused(folder, tmp_path):
    shutil.move(folder / FP8, tmp_path / FP8)
    (folder / FP8).symlink_to(tmp_path / FP8)

    found = next(file for file in check(folder).files if file.name == FP8)

    assert (found.verdict, found.error.code) == ("unreadable", "symlink")


def test_pipe_among_the_files_is_refused_without_waiting(files):
    os.mkfifo(files / "pipe.safetensors")

    report = check(files)

    assert verdicts(report)["pipe.safetensors"] == "unreadable"
    assert "a named pipe" in next(iter(report.bad)).detail


@pytest.mark.parametrize("place", ["/dev/null", "/dev/zero"])
def test_device_is_refused(place):
    with pytest.raises(InputError) as caught:
        verify(
            Path(place),
            level="xxh3",
            threads=1,
            progress=NoProgress(),
        )

    assert caught.value.code == "not-a-file"


def test_pipe_as_the_only_argument_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(InputError) as caught:
        check(tmp_path / "pipe")

    assert caught.value.code == "not-a-file"


def test_empty_folder_among_arguments_is_refused(files, tmp_path):
    (tmp_path / "empty").mkdir()

    with pytest.raises(InputError) as caught:
        check(files, tmp_path / "empty")

    assert caught.value.code == "no-manifest"


class Touching(NoProgress):
    """Changes a file at the first bytes that are read."""

    def __init__(self, path):
        self.path = path
        self.lock = threading.Lock()

    def stage(self, label, nbytes):
        del label, nbytes
        return self

    def __enter__(self):
        return self.advance

    def __exit__(self, *_):
        pass

    def advance(self, _):
        with self.lock:
            if self.path is not None:
                os.utime(self.path, (1, 1))
                self.path = None


def test_file_that_changes_while_it_is_read_is_told(files):
    with pytest.raises(CheckpointError) as caught:
        check(files / FP16, progress=Touching(files / FP16))

    assert caught.value.code == "input-changed"


def test_file_that_changes_does_not_stop_the_others(files):
    report = check(files, progress=Touching(files / FP16))

    assert verdicts(report) == {FP16: "unreadable", FP8: "intact"}
    assert report.files[0].error.code == "input-changed"


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_threads_do_not_change_the_answer(folder, threads):
    data = bytearray((folder / FP16).read_bytes())
    data[-1] ^= 1
    (folder / FP16).write_bytes(data)

    report = check(folder, threads=threads)

    assert report == check(folder, threads=4)
    assert not report.is_intact


def test_only_chunks_that_differ_are_damaged(tmp_path, krelease):
    path = tmp_path / "m.safetensors"
    weights = {"a": torch.ones(1024, 1024), "b": torch.ones(2048, 1024)}
    safetensors.torch.save_file(weights, path)
    assert krelease("convert", path, "--to", "fp16", "--quiet")[0] == 0
    converted = tmp_path / "m-fp16.safetensors"
    data = bytearray(converted.read_bytes())
    for at in (2_900_000, 3_500_000, 5_900_000):
        data[at] ^= 1
    converted.write_bytes(data)

    (found,) = check(converted).files

    mib = 2**20
    assert found.tensors == ("b",)
    assert found.damage.ranges == ((2 * mib, 4 * mib), (5 * mib, 6 * mib))
    assert found.damage.by_chunk
    assert found.damage.nbytes == 3 * mib
    assert "3.15 MB of" in found.damage.extent
