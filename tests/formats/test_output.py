"""Outputs under faults: the target is the old file, the new one, or absent."""

import errno
import os
import resource
import signal
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from release.errors import (
    NoSpaceError,
    OutputError,
    OutputExistsError,
    WriteError,
)
from release.formats import output as output_module
from release.formats import rename
from release.formats.output import (
    OutputFile,
    free_bytes,
    require_space,
    write_text_file,
)

OLD = b"old content"
NEW = bytes(range(256)) * 64


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def names(path):
    return sorted(entry.name for entry in path.parent.iterdir())


def write(path, data=NEW, *, overwrite=False):
    with OutputFile.create(path, len(data), overwrite=overwrite) as output:
        output.write_at(0, data)
        output.sync()
        output.read_into(0, memoryview(bytearray(len(data))))
        output.publish()


def fail_with(code):
    def fail(*_args):
        raise OSError(code, os.strerror(code))

    return fail


# --- the plain way


def test_published_file_holds_what_was_written_and_nothing_else_remains(path):
    write(path)

    assert path.read_bytes() == NEW
    assert names(path) == ["model.safetensors"]


def test_target_is_invisible_until_published(path):
    with OutputFile.create(path, len(NEW)) as output:
        output.write_at(0, NEW)
        output.sync()
        assert names(path) == [f".model.safetensors.{os.getpid()}.part"]
        output.publish()


def test_room_is_allocated_before_the_first_write(path):
    with OutputFile.create(path, 2**20) as output:
        status = path.with_name(f".{path.name}.{os.getpid()}.part").stat()
        assert output.preallocated
        assert status.st_size == 2**20
        assert status.st_blocks * 512 >= 2**20


def test_unwritten_beginning_is_zero(path):
    buffer = bytearray(b"x" * 16)

    with OutputFile.create(path, 64) as output:
        output.write_at(16, b"y" * 48)
        output.read_into(0, memoryview(buffer))

    assert buffer == bytes(16)


def test_appended_blocks_follow_each_other(path):
    with OutputFile.create(path, None) as output:
        output.append(b"abc")
        output.append(memoryview(b"def"))
        output.publish()

    assert path.read_bytes() == b"abcdef"


def test_threads_write_their_own_ranges(path):
    with OutputFile.create(path, len(NEW)) as output, ThreadPoolExecutor(8) as pool:
        ranges = [(at, NEW[at : at + 64]) for at in range(0, len(NEW), 64)]
        list(pool.map(lambda item: output.write_at(*item), ranges))
        output.publish()

    assert path.read_bytes() == NEW


def test_short_writes_of_the_system_are_continued(path, monkeypatch):
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[:1000], at))

    write(path)

    assert path.read_bytes() == NEW


def test_large_writes_are_cut_so_that_an_interrupt_is_seen(path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        os, "pwrite", lambda _fd, data, _at: asked.append(len(data)) or len(data)
    )

    with OutputFile.create(path, None) as output:
        output.append(bytes(20 * 2**20))

    assert max(asked) == 8 * 2**20


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_mode_follows_the_umask(path, umask):
    old = os.umask(umask)
    try:
        write(path)
    finally:
        os.umask(old)

    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_replacing_keeps_the_old_files_mode(path):
    path.write_bytes(OLD)
    path.chmod(0o640)

    write(path, overwrite=True)

    assert path.read_bytes() == NEW
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_replacing_leaves_readers_of_the_old_file_alone(path):
    path.write_bytes(OLD)
    with path.open("rb") as reader:
        write(path, overwrite=True)
        assert reader.read() == OLD


# --- refusals, which write nothing


def refused(path, **options):
    before = names(path) if path.parent.is_dir() else []
    with pytest.raises(OutputError) as caught:
        OutputFile.create(path, 10, **options)
    assert caught.value.hint
    assert (names(path) if path.parent.is_dir() else []) == before
    return caught.value


def test_existing_target_is_kept(path):
    path.write_bytes(OLD)

    assert isinstance(refused(path), OutputExistsError)
    assert path.read_bytes() == OLD


@pytest.mark.parametrize("make", ["itself", "hard link", "symlink"])
def test_target_that_is_an_input_under_any_name_is_refused(path, make):
    source = path.with_name("source")
    source.write_bytes(OLD)
    target = {
        "itself": lambda: source,
        "hard link": lambda: path.hardlink_to(source) or path,
        "symlink": lambda: path.symlink_to(source) or path,
    }[make]()

    error = refused(target, inputs=[Path(__file__).stat(), source.stat()])

    assert error.code == "output-is-input"


def test_input_may_be_replaced_on_request(path):
    path.write_bytes(OLD)

    with OutputFile.create(path, 3, overwrite=True, inputs=[path.stat()]) as output:
        output.write_at(0, b"new")
        output.publish()

    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("overwrite", [False, True])
def test_directory_as_target_is_refused(path, overwrite):
    path.mkdir()

    assert refused(path, overwrite=overwrite).code == "not-a-file"


@pytest.mark.parametrize("overwrite", [False, True])
def test_device_as_target_is_refused(overwrite):
    with pytest.raises(OutputError) as caught:
        OutputFile.create(Path("/dev/null"), 10, overwrite=overwrite)

    assert caught.value.code == "not-a-file"


def test_pipe_as_target_is_refused(path):
    os.mkfifo(path)

    assert refused(path, overwrite=True).code == "not-a-file"


@pytest.mark.parametrize("exists", [True, False], ids=["leads somewhere", "dangles"])
def test_symlink_as_target_is_refused(path, exists):
    blob = path.with_name("blob")
    blob.write_bytes(OLD)
    path.symlink_to(blob if exists else path.with_name("none"))

    assert refused(path).code == "output-is-symlink"
    assert blob.read_bytes() == OLD


def test_symlink_is_replaced_itself_on_request(path):
    blob = path.with_name("blob")
    blob.write_bytes(OLD)
    path.symlink_to(blob)

    write(path, overwrite=True)

    assert not path.is_symlink()
    assert (path.read_bytes(), blob.read_bytes()) == (NEW, OLD)


@pytest.mark.parametrize("parent", ["missing", "file"])
def test_folder_that_is_none_is_refused(tmp_path, parent):
    (tmp_path / "file").write_bytes(OLD)

    assert refused(tmp_path / parent / "x").code == "no-directory"


def test_current_folder_as_target_is_refused():
    with pytest.raises(OutputError) as caught:
        OutputFile.create(Path("."), 1)  # noqa: PTH201

    assert caught.value.code == "not-a-file"


def test_second_writer_of_the_same_target_is_refused(path):
    with OutputFile.create(path, 10), pytest.raises(OutputError) as caught:
        OutputFile.create(path, 10)

    assert caught.value.code == "output-busy"
    assert names(path) == []


def test_name_that_leaves_no_room_for_the_temporary_one_is_refused(tmp_path):
    assert isinstance(refused(tmp_path / ("n" * 250)), WriteError)


# --- faults midway


def write_half(path, fault):
    with OutputFile.create(path, len(NEW), overwrite=True) as output:
        output.write_at(0, NEW[:100])
        raise fault


@pytest.mark.parametrize(
    "fault", [ValueError, KeyboardInterrupt, SystemExit, MemoryError, GeneratorExit]
)
@pytest.mark.parametrize("old", [None, OLD], ids=["new target", "existing target"])
def test_exception_midway_leaves_what_was_there(path, fault, old):
    if old is not None:
        path.write_bytes(old)
    before = names(path)

    with pytest.raises(fault):
        write_half(path, fault)

    assert names(path) == before
    assert [path.read_bytes()] == [old] if old else not path.exists()


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite", "fsync"])
def test_failing_system_call_leaves_the_old_file(path, monkeypatch, call, code):
    path.write_bytes(OLD)
    monkeypatch.setattr(os, call, fail_with(code))

    with pytest.raises(OutputError) as caught:
        write(path, overwrite=True)

    is_full = code in {errno.ENOSPC, errno.EDQUOT}
    assert type(caught.value) is (NoSpaceError if is_full else WriteError)
    assert caught.value.exit_code == 9
    assert caught.value.hint
    assert str(path) in str(caught.value)
    assert path.read_bytes() == OLD
    assert names(path) == ["model.safetensors"]


def test_full_disk_tells_needed_and_free_bytes(path, monkeypatch):
    monkeypatch.setattr(os, "posix_fallocate", fail_with(errno.ENOSPC))

    with pytest.raises(NoSpaceError) as caught:
        OutputFile.create(path, 12_345)

    assert caught.value.needed == 12_345
    assert caught.value.free > 0
    assert names(path) == []


def test_file_size_limit_is_a_write_error(path):
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, old[1]))
    try:
        with (
            pytest.raises(WriteError) as caught,
            OutputFile.create(path, None) as output,
        ):
            output.append(NEW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)

    assert "ulimit" in caught.value.hint
    assert names(path) == []


def test_file_system_without_preallocation_falls_back_to_the_hint(path, monkeypatch):
    monkeypatch.setattr(os, "posix_fallocate", fail_with(errno.EOPNOTSUPP))

    with OutputFile.create(path, len(NEW)) as output:
        assert not output.preallocated
        output.write_at(0, NEW)
        output.publish()

    assert path.read_bytes() == NEW
    with pytest.raises(NoSpaceError):
        OutputFile.create(path.with_name("huge"), 2**60)


def test_failed_sync_is_final(path, monkeypatch):
    with OutputFile.create(path, 3) as output:
        output.write_at(0, b"new")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail_with(errno.EIO))
            with pytest.raises(WriteError):
                output.sync()
        with pytest.raises(WriteError, match="failed before"):
            output.publish()

    assert names(path) == []


def test_failed_write_is_final(path, monkeypatch):
    with OutputFile.create(path, 3) as output:
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", fail_with(errno.EIO))
            with pytest.raises(WriteError):
                output.write_at(0, b"new")
        with pytest.raises(WriteError, match="failed before"):
            output.publish()

    assert names(path) == []


def test_write_that_accepts_nothing_does_not_loop(path, monkeypatch):
    monkeypatch.setattr(os, "pwrite", lambda *_args: 0)

    with pytest.raises(WriteError):
        write(path)

    assert names(path) == []


def test_error_that_only_closing_reports_is_not_lost(path, monkeypatch):
    close, failed = os.close, []

    def close_and_fail(descriptor):
        close(descriptor)
        if not failed:
            failed.append(descriptor)
            raise OSError(errno.EDQUOT, "Disk quota exceeded")

    with OutputFile.create(path, 3) as output:
        output.write_at(0, b"new")
        output.sync()
        monkeypatch.setattr(os, "close", close_and_fail)
        with pytest.raises(NoSpaceError):
            output.publish()

    assert names(path) == []


def test_size_other_than_planned_is_not_published(path):
    with OutputFile.create(path, 3) as output:
        output.write_at(0, b"four")
        with pytest.raises(WriteError, match="holds 4 bytes, expected 3"):
            output.publish()

    assert names(path) == []


def test_reading_back_beyond_the_end_is_a_write_error(path):
    with (
        OutputFile.create(path, 3) as output,
        pytest.raises(WriteError, match="up to byte 3"),
    ):
        output.read_into(0, memoryview(bytearray(4)))


def test_name_that_cannot_be_made_durable_is_reported(path, monkeypatch):
    monkeypatch.setattr(output_module, "sync_directory", fail_with(errno.EIO))

    with pytest.raises(WriteError):
        write(path)

    assert path.read_bytes() == NEW
    assert names(path) == ["model.safetensors"]


# --- publishing without clobbering


def without_renameat2(*_args):
    raise OSError(errno.ENOSYS, "Function not implemented")


@pytest.fixture(params=["renameat2", "link"])
def way(request, monkeypatch):
    if request.param == "link":
        monkeypatch.setattr(rename, "_rename_noreplace", without_renameat2)


@pytest.mark.usefixtures("way")
def test_new_name_is_given_either_way(path):
    write(path)

    assert path.read_bytes() == NEW
    assert names(path) == ["model.safetensors"]


@pytest.mark.usefixtures("way")
def test_file_that_appeared_meanwhile_is_kept(path):
    with OutputFile.create(path, 3) as output:
        output.write_at(0, b"new")
        path.write_bytes(OLD)
        with pytest.raises(OutputExistsError):
            output.publish()

    assert path.read_bytes() == OLD
    assert names(path) == ["model.safetensors"]


@pytest.mark.usefixtures("way")
def test_of_many_writers_exactly_one_publishes(tmp_path):
    target = tmp_path / "target"
    sources = [tmp_path / f"source{i}" for i in range(16)]
    for source in sources:
        source.write_text(source.name)

    def give_name(source):
        try:
            rename.rename_no_clobber(source, target)
        except FileExistsError:
            return None
        return source.name

    with ThreadPoolExecutor(16) as pool:
        winners = [name for name in pool.map(give_name, sources) if name]

    assert winners == [target.read_text()]
    assert sum(source.exists() for source in sources) == 15


# --- small files


@pytest.mark.parametrize("text", ["", "grüße\n", b"\xff\x00"])
def test_small_file_is_written_as_given(path, text):
    write_text_file(path, text)

    assert path.read_bytes() == (text.encode() if isinstance(text, str) else text)


def test_small_file_keeps_and_replaces_like_a_large_one(path):
    write_text_file(path, "old")
    with pytest.raises(OutputExistsError):
        write_text_file(path, "new")
    assert path.read_text() == "old"

    write_text_file(path, "new", overwrite=True)

    assert path.read_text() == "new"


def test_small_file_that_reads_back_differently_is_not_published(path, monkeypatch):
    pwrite = os.pwrite
    monkeypatch.setattr(
        os, "pwrite", lambda fd, data, at: pwrite(fd, b"X" * len(data), at)
    )

    with pytest.raises(WriteError, match="does not read back"):
        write_text_file(path, "text")

    assert names(path) == []


# --- space


def test_free_bytes_are_those_this_user_may_use(tmp_path):
    status = os.statvfs(tmp_path)

    assert abs(free_bytes(tmp_path) - status.f_bavail * status.f_frsize) < 2**30


def test_space_is_required_with_a_reserve(tmp_path, monkeypatch):
    status = type("Status", (), {"f_bavail": 1000, "f_frsize": 2**20, "f_bfree": 9999})
    monkeypatch.setattr(os, "statvfs", lambda _path: status)
    most = (1000 - 64) * 2**20 * 100 // 101

    require_space(tmp_path, most)
    with pytest.raises(NoSpaceError) as caught:
        require_space(tmp_path, most + 2)

    assert caught.value.free == 1000 * 2**20
    assert caught.value.needed == most + 2 + (most + 2) // 100 + 64 * 2**20


def test_folder_that_is_not_there_yet_has_the_room_of_the_one_above(
    tmp_path, monkeypatch
):
    asked = []
    real = os.statvfs
    monkeypatch.setattr(os, "statvfs", lambda path: asked.append(path) or real(path))

    assert free_bytes(tmp_path / "missing" / "deeper") > 0
    assert asked == [tmp_path]


def test_file_system_that_cannot_be_asked_is_a_write_error(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "statvfs", fail_with(errno.EIO))

    with pytest.raises(WriteError):
        require_space(tmp_path, 1)
