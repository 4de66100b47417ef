"""What is at the target already, no room, and a conversion that is stopped."""

import errno
import os
import signal
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

from release.convert.options import ConvertOptions
from release.convert.plan import plan_convert
from release.convert.run import convert as run
from release.convert.source import SourceOptions, open_source
from release.engine.seal import Sealer
from release.errors import OutputExistsError
from release.formats import space
from release.formats.checkpoint import SafetensorsCheckpoint
from release.formats.output import OutputFile
from release.progress import NoProgress
from release.variants.preset import find_preset

SHARDED = ["--shard", "1kB"]

IN_THE_WAY = {
    "checkpoint": ("model-fp8.safetensors", []),
    "record": ("model-fp8.krelease.json", []),
    "index": ("model-fp16.safetensors.index.json", SHARDED),
    "last shard": ("model-fp8-00002-of-00002.safetensors", SHARDED),
    "record of shards": ("model-fp8.krelease.json", SHARDED),
}


def convert_model(*to, out=".", progress=None, **options):
    """Convert model.safetensors without the command line and its signals."""
    wanted = ConvertOptions(tuple(map(find_preset, to)), **options)
    with open_source(Path("model.safetensors"), SourceOptions()) as source:
        plan = plan_convert(source, wanted)
        run(plan, Path(out), threads=1, progress=progress or NoProgress())


@pytest.mark.parametrize("case", IN_THE_WAY)
def test_existing_file_is_refused_and_no_variant_written(
    refused, save, sd1, workplace, case
):
    name, options = IN_THE_WAY[case]
    save(sd1)
    (workplace / name).write_text("mine")

    found = refused("model.safetensors", "--to=fp16", "--to=fp8", *options)

    assert (found.exit_code, found.code) == (9, "output-exists")
    assert found.message == f"{name}: already exists"
    assert "--force" in found.hint


@pytest.mark.parametrize("case", IN_THE_WAY)
def test_existing_file_is_replaced_with_force(convert, save, sd1, workplace, case):
    name, options = IN_THE_WAY[case]
    save(sd1)
    (workplace / name).write_text("old")
    (workplace / name).chmod(0o640)

    convert("model.safetensors", "--to=fp16", "--to=fp8", "--force", *options)

    replaced = (workplace / name).read_bytes()
    other = convert("model.safetensors", "--to=fp16", "--to=fp8", "--out=x", *options)
    assert other.document
    assert replaced == (workplace / "x" / name).read_bytes()
    assert (workplace / name).stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", ["model-fp8.safetensors", "model-fp8.krelease.json"])
@pytest.mark.parametrize("options", [[], ["--force"]], ids=["", "force"])
def test_folder_in_the_way_is_never_replaced(
    refused, save, sd1, workplace, name, options
):
    save(sd1)
    (workplace / name).mkdir()

    found = refused("model.safetensors", "--to", "fp8", *options)

    assert (found.exit_code, found.code) == (9, "not-a-file")
    assert found.message.startswith(name)


@pytest.mark.parametrize("options", [[], ["--force"]], ids=["", "force"])
def test_input_is_not_overwritten_without_force(
    krelease, save, sd1, workplace, options
):
    save(sd1, name="model-fp16.safetensors")
    before = (workplace / "model-fp16.safetensors").read_bytes()

    code, _, err = krelease(
        "convert", "model-fp16.safetensors", "--to", "fp16", *options
    )

    after = (workplace / "model-fp16.safetensors").read_bytes()
    if options:
        assert code == 0, err
        found = safetensors.torch.load(after)
        assert all(found[name].dtype != torch.float32 for name in sd1)
    else:
        assert code == 9
        assert "model-fp16.safetensors: is one of the inputs" in err
        assert after == before
        assert [path.name for path in workplace.iterdir()] == ["model-fp16.safetensors"]


@pytest.mark.parametrize("out", ["file", "file/below", "file/below/more"])
def test_folder_that_is_a_file_is_refused(refused, save, sd1, workplace, out):
    save(sd1)
    (workplace / "file").touch()

    found = refused("model.safetensors", "--to", "fp8", "--out", out)

    assert found.exit_code == 9
    assert "file" in found.message


def test_full_disk_is_known_before_anything_is_read(refused, save, sd1, monkeypatch):
    save(sd1)
    nearly_full = os.statvfs_result((512, 512, 999, 9, 9, 9, 9, 9, 0, 255))
    monkeypatch.setattr(space.os, "statvfs", lambda _: nearly_full)
    monkeypatch.setattr(SafetensorsCheckpoint, "read_into", None)

    found = refused("model.safetensors", "--to", "fp8", "--out", "new/folder")

    assert (found.exit_code, found.code) == (9, "no-space")
    assert f"{9 * 512:,} are free" in found.message


@pytest.mark.parametrize("n_good", [0, 5, 12])
def test_disk_that_fills_up_leaves_nothing(refused, save, sd1, monkeypatch, n_good):
    save(sd1)
    pwrite, count = os.pwrite, iter(range(n_good, -1000, -1))

    def full(descriptor: int, data: bytes, offset: int) -> int:
        if next(count) <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", full)

    found = refused("model.safetensors", "--to=fp8", "--to=bf16", "--out=new")

    assert (found.exit_code, found.code) == (9, "no-space")


def test_room_that_killed_runs_took_is_free_again_before_it_is_counted(
    convert, save, sd1, workplace, monkeypatch
):
    save(sd1)
    left = workplace / ".another-fp16.safetensors.123456.part"
    left.write_bytes(b"of a killed run")
    counted, statvfs = [], os.statvfs
    monkeypatch.setattr(
        space.os,
        "statvfs",
        lambda path: (counted.append(left.exists()), statvfs(path))[1],
    )

    convert("model.safetensors", "--to=fp8")

    assert counted[:1] == [False]
    assert not left.exists()


def test_part_of_a_living_run_in_the_same_folder_is_left_alone(
    convert, save, sd1, workplace
):
    save(sd1)

    with OutputFile.create(workplace / "other.safetensors", 5) as other:
        convert("model.safetensors", "--to=fp8")
        other.write_at(0, b"whole")
        other.publish()

    assert (workplace / "other.safetensors").read_bytes() == b"whole"


def test_record_that_appears_meanwhile_is_kept_and_nothing_else_left(
    save, sd1, workplace, monkeypatch
):
    """The checkpoints follow the records; so nothing is left of either."""
    save(sd1)
    seal = Sealer.seal

    def intrude(self: Sealer, *args: object, **options: object) -> object:
        (workplace / "model-fp8.krelease.json").write_text("of somebody else")
        return seal(self, *args, **options)

    monkeypatch.setattr(Sealer, "seal", intrude)

    with pytest.raises(OutputExistsError):
        convert_model("bf16", "fp8")

    assert sorted(path.name for path in workplace.iterdir()) == [
        "model-fp8.krelease.json",
        "model.safetensors",
    ]
    assert (workplace / "model-fp8.krelease.json").read_text() == "of somebody else"


def signalled(number: int, method: object, *, after: int) -> object:
    """Return a method that sends this process a signal at one of its calls."""
    calls = iter(range(1000))

    def call(*args: object, **options: object) -> object:
        if next(calls) == after:
            os.kill(os.getpid(), number)
            time.sleep(0.05)  # in a worker, while the main thread takes notice
        return method(*args, **options)

    return call


MOMENTS = {
    "at the first byte": (SafetensorsCheckpoint, "read_into", 0),
    "while it is read": (SafetensorsCheckpoint, "read_into", 4),
    "while it is sealed": (Sealer, "seal", 0),
}


@pytest.mark.parametrize("options", [[], SHARDED], ids=["", "shards"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", MOMENTS)
def test_stopped_conversion_leaves_no_file_and_no_folder(
    krelease, save, sd1, workplace, monkeypatch, moment, number, options
):
    owner, name, after = MOMENTS[moment]
    save(sd1)
    monkeypatch.setattr(
        owner, name, signalled(number, getattr(owner, name), after=after)
    )

    code, out, err = krelease(
        "convert", "model.safetensors", "--to=fp8", "--to=bf16", "--out=a/b", *options
    )

    assert (code, out) == (128 + number, "")
    assert err.splitlines()[-1] == (
        f"stopped by {signal.Signals(number).name}; no unfinished file is left"
    )
    assert [path.name for path in workplace.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_stopped_conversion_of_a_folder_leaves_no_folder(
    krelease, pipeline, workplace, monkeypatch, moment
):
    owner, name, after = MOMENTS[moment]
    monkeypatch.setattr(
        owner, name, signalled(signal.SIGTERM, getattr(owner, name), after=after)
    )

    code, _, _ = krelease("convert", pipeline, "--to=fp8", "--keep-layout")

    assert code == 143
    assert [path.name for path in workplace.iterdir()] == ["pipe"]


@pytest.mark.parametrize("options", [["--min-snr=30"], ["--min-snr=30", "--dry-run"]])
def test_stopped_measuring_leaves_nothing(
    krelease, save, sd1, workplace, monkeypatch, options
):
    owner, name, after = MOMENTS["while it is read"]
    save(sd1)
    monkeypatch.setattr(
        owner, name, signalled(signal.SIGINT, getattr(owner, name), after=after)
    )

    code, out, _ = krelease("convert", "model.safetensors", "--to=fp8", *options)

    assert (code, out) == (130, "")
    assert [path.name for path in workplace.iterdir()] == ["model.safetensors"]


N_FILES = 4
"""Two shards, their index, the record."""


@pytest.mark.parametrize("after", range(N_FILES))
def test_signal_while_files_get_their_names_comes_too_late(
    krelease, save, sd1, workplace, monkeypatch, after
):
    save(sd1)
    monkeypatch.setattr(
        OutputFile,
        "publish",
        signalled(signal.SIGINT, OutputFile.publish, after=after),
    )

    code, _, _ = krelease("convert", "model.safetensors", "--to=fp8", *SHARDED)

    written = {path.name for path in workplace.iterdir()} - {"model.safetensors"}
    assert code in {0, 130}
    assert len(written) == N_FILES


@pytest.mark.parametrize("after", range(N_FILES))
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_failure_while_files_get_their_names_takes_the_names_back(
    save, sd1, workplace, monkeypatch, after, error
):
    publish, calls = OutputFile.publish, iter(range(1000))

    def fail(self):
        if next(calls) == after:
            raise error
        publish(self)

    save(sd1)
    monkeypatch.setattr(OutputFile, "publish", fail)

    with pytest.raises(error):
        convert_model("fp8", out="new", shard_nbytes=1000)

    assert [path.name for path in workplace.iterdir()] == ["model.safetensors"]


def test_interrupt_raised_by_the_progress_leaves_nothing(save, sd1, workplace):
    class Impatient(NoProgress):
        def stage(self, *_):
            raise KeyboardInterrupt

    save(sd1)

    with pytest.raises(KeyboardInterrupt):
        convert_model("fp8", out="new", progress=Impatient())

    assert [path.name for path in workplace.iterdir()] == ["model.safetensors"]


def test_source_that_changes_meanwhile_is_refused(
    krelease, save, sd1, workplace, monkeypatch
):
    path = save(sd1)
    os.utime(path, (1, 1))  # the clock of files is coarse
    read_into, calls = SafetensorsCheckpoint.read_into, iter(range(1000))

    def change(self, entry, offset, buffer):
        if next(calls) == 3:
            with path.open("r+b") as file:
                file.seek(-4, os.SEEK_END)
                file.write(b"\x55")
        return read_into(self, entry, offset, buffer)

    monkeypatch.setattr(SafetensorsCheckpoint, "read_into", change)

    code, _, err = krelease("convert", path, "--to", "fp8", "--out", "new")

    assert code == 4
    assert "model.safetensors: " in err
    assert "chang" in err
    assert [each.name for each in workplace.iterdir()] == ["model.safetensors"]
