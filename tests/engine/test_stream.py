"""The pass as a whole: what it reports, and how it ends when it cannot go on."""

import errno
import os
import threading

import pytest
import torch

from release.engine.execute import total_nbytes
from release.engine.kernel import Kernel
from release.engine.seal import DataHasher, Sealer
from release.errors import InputError, NoSpaceError, OutputExistsError, WriteError
from release.formats.output import OutputFile
from release.numeric.dtype import Dtype

N_TENSORS = 300


@pytest.fixture
def plan(workshop):
    """Two ingredients of 300 tensors, to be merged into two outputs."""
    ingredients = {
        name: {f"w{n:03}": torch.randn(2000) for n in range(N_TENSORS)}
        for name in ("a", "b")
    }
    return workshop.plan(ingredients, {"a": 0.5, "b": 0.5}, Dtype.F32, Dtype.F16)


def our_threads():
    return [
        thread.name
        for thread in threading.enumerate()
        if thread.name.startswith("krelease")
    ]


def assert_nothing_is_left(workshop):
    assert list(workshop.out.iterdir()) == []
    assert our_threads() == []


def test_progress_adds_up_to_what_was_planned(workshop, plan):
    steps = []

    workshop.run(plan, advance=steps.append)

    written = sum(path.stat().st_size for path in workshop.out.iterdir())
    read = 2 * N_TENSORS * 2000 * 4
    assert sum(steps) == total_nbytes(plan) == read + written
    assert our_threads() == []


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_bytes_and_figures_do_not_depend_on_threads(workshop, plan, threads):
    report = workshop.run(plan, threads=threads)
    first = {path.name: path.read_bytes() for path in workshop.out.iterdir()}
    for path in workshop.out.iterdir():
        path.unlink()

    again = workshop.run(plan, threads=3)

    assert first == {path.name: path.read_bytes() for path in workshop.out.iterdir()}
    assert [output.seal for output in report.outputs] == [
        output.seal for output in again.outputs
    ]
    assert [output.deviation.error_square_sum for output in report.outputs] == [
        output.deviation.error_square_sum for output in again.outputs
    ]
    assert report.ingredients == again.ingredients


STAGES = [0.0, 0.2, 0.5, 0.6, 0.8, 0.95, 0.999]
"""Of the total: reading ends at 0.57, then both outputs are read back."""


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("fraction", STAGES)
def test_interrupt_at_any_moment_leaves_nothing(workshop, plan, fraction, threads):
    limit = fraction * total_nbytes(plan)
    done = 0

    def advance(nbytes):
        nonlocal done
        done += nbytes
        if done > limit:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workshop.run(plan, threads=threads, advance=advance)

    assert_nothing_is_left(workshop)


def test_failing_worker_stops_the_others_soon(workshop, plan, monkeypatch):
    jobs = []
    run = Kernel.run

    def fail_at_third(kernel, job):
        jobs.append(job.name)
        if len(jobs) == 3:
            raise RuntimeError("injected")
        return run(kernel, job)

    monkeypatch.setattr(Kernel, "run", fail_at_third)

    with pytest.raises(RuntimeError, match="injected"):
        workshop.run(plan, threads=2)

    assert len(jobs) < N_TENSORS
    assert_nothing_is_left(workshop)


def test_failing_follower_stops_the_workers_soon(workshop, plan, monkeypatch):
    jobs = []
    run = Kernel.run

    def counted(kernel, job):
        jobs.append(job.name)
        return run(kernel, job)

    def fail(_hasher):
        raise RuntimeError("injected")

    monkeypatch.setattr(Kernel, "run", counted)
    monkeypatch.setattr(DataHasher, "follow", fail)

    with pytest.raises(RuntimeError, match="injected"):
        workshop.run(plan)

    assert len(jobs) < N_TENSORS
    assert_nothing_is_left(workshop)


@pytest.mark.parametrize("method", ["write_header", "seal"])
def test_failing_seal_leaves_nothing(workshop, plan, monkeypatch, method):
    def fail(*_args, **_options):
        raise RuntimeError("injected")

    monkeypatch.setattr(Sealer, method, fail)

    with pytest.raises(RuntimeError, match="injected"):
        workshop.run(plan)

    assert_nothing_is_left(workshop)


def test_disk_that_cannot_sync_is_a_write_error(workshop, plan, monkeypatch):
    def fail(_descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)

    with pytest.raises(WriteError) as caught:
        workshop.run(plan)

    assert caught.value.exit_code == 9
    assert_nothing_is_left(workshop)


def test_full_disk_in_the_middle_of_the_pass_is_told_as_such(
    workshop, plan, monkeypatch
):
    pwrite = os.pwrite

    def full_later(descriptor, data, offset):
        if offset > 1_000_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", full_later)

    with pytest.raises(NoSpaceError) as caught:
        workshop.run(plan)

    assert caught.value.code == "no-space"
    assert_nothing_is_left(workshop)


def test_too_little_room_is_known_before_anything_is_read(workshop, plan, monkeypatch):
    statvfs = os.statvfs
    read = []

    class Nearly:
        f_bavail = 1
        f_frsize = statvfs(workshop.out).f_frsize

    monkeypatch.setattr(os, "statvfs", lambda _path: Nearly)

    with pytest.raises(NoSpaceError) as caught:
        workshop.run(plan, advance=read.append)

    assert caught.value.exit_code == 9
    assert caught.value.needed > plan.write_nbytes
    assert read == []
    assert_nothing_is_left(workshop)


def append(path):
    with path.open("ab") as file:
        file.write(b"x")


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def touch(path):
    os.utime(path, ns=(0, 0))


def edit_and_hide(path):
    """Change a weight and put the modification time back."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\0\0\0\0")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", [append, cut, touch, edit_and_hide])
def test_ingredient_that_changes_during_the_pass_is_refused(workshop, plan, change):
    changed = threading.Event()

    def advance(_nbytes):
        if not changed.is_set():
            changed.set()
            change(workshop.inputs / "b.safetensors")

    with pytest.raises(InputError) as caught:
        workshop.run(plan, advance=advance)

    assert caught.value.code == "input-changed"
    assert "b.safetensors" in str(caught.value)
    assert_nothing_is_left(workshop)


def test_inputs_are_left_as_they_were_with_their_times(workshop, plan):
    before = {path: path.stat() for path in workshop.inputs.iterdir()}

    workshop.run(plan)

    for path, status in before.items():
        now = path.stat()
        assert (now.st_mtime_ns, now.st_ctime_ns, now.st_size) == (
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_size,
        )


def test_second_output_that_cannot_appear_takes_the_first_away(
    workshop, plan, monkeypatch
):
    publish = OutputFile.publish

    def occupied(file):
        if file.path.name == "F16.safetensors":
            file.path.write_text("someone else's")
        publish(file)

    monkeypatch.setattr(OutputFile, "publish", occupied)

    with pytest.raises(OutputExistsError):
        workshop.run(plan)

    assert [path.name for path in workshop.out.iterdir()] == ["F16.safetensors"]
    assert (workshop.out / "F16.safetensors").read_text() == "someone else's"


def test_output_that_exists_is_refused_before_anything_is_read(workshop, plan):
    (workshop.out / "F16.safetensors").write_text("mine")
    read = []

    with pytest.raises(OutputExistsError):
        workshop.run(plan, advance=read.append)

    assert read == []
    assert (workshop.out / "F16.safetensors").read_text() == "mine"
    assert [path.name for path in workshop.out.iterdir()] == ["F16.safetensors"]
