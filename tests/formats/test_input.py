"""Input files: what is opened, and what happens when they change."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from release.errors import InputError
from release.formats.input import InputFile, WindowFile


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes(range(256)) * 16)
    return path


def open_refused(path):
    with pytest.raises(InputError) as caught:
        InputFile(path)
    assert caught.value.hint
    return caught.value


def test_bytes_are_read_by_position(path):
    with InputFile(path) as file:
        assert file.nbytes == 4096
        assert file.read(250, 10) == bytes([250, 251, 252, 253, 254, 255, 0, 1, 2, 3])
        assert file.read(4096, 0) == b""


def test_buffer_of_wider_items_is_filled_by_bytes(path):
    buffer = memoryview(bytearray(8)).cast("I")

    with InputFile(path) as file:
        file.read_into(4, buffer)

    assert bytes(buffer) == bytes(range(4, 12))


def test_short_reads_of_the_system_are_continued(path, monkeypatch):
    preadv = os.preadv
    monkeypatch.setattr(
        os, "preadv", lambda fd, bufs, at: preadv(fd, [bufs[0][:7]], at)
    )

    with InputFile(path) as file:
        content = file.read(0, 4096)

    assert content == path.read_bytes()


def test_large_reads_are_cut_so_that_an_interrupt_is_seen(tmp_path, monkeypatch):
    path = tmp_path / "sparse"
    path.touch()
    os.truncate(path, 20 * 2**20)
    asked = []
    preadv = os.preadv
    monkeypatch.setattr(
        os,
        "preadv",
        lambda fd, bufs, at: asked.append(len(bufs[0])) or preadv(fd, bufs, at),
    )

    with InputFile(path) as file:
        file.read(0, 20 * 2**20)

    assert max(asked) == 8 * 2**20


def test_threads_read_independently(path):
    with InputFile(path) as file, ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda i: file.read(i * 16, 16), range(256)))

    assert b"".join(parts) == path.read_bytes()


def test_symlink_to_a_file_is_followed(path, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(path)

    with InputFile(link) as file:
        assert file.nbytes == 4096


def test_missing_file_is_not_found(tmp_path):
    assert open_refused(tmp_path / "none").code == "not-found"


def test_path_below_a_file_is_not_found(path):
    assert open_refused(path / "x").code == "not-found"


def test_path_with_nul_is_not_found(tmp_path):
    assert open_refused(tmp_path / "a\0b").code == "not-found"


def test_dangling_symlink_is_not_found(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "none")

    assert open_refused(link).code == "not-found"


def test_directory_is_not_a_file(tmp_path):
    error = open_refused(tmp_path)

    assert error.code == "not-a-file"
    assert "is a directory" in str(error)


@pytest.mark.timeout(10)
def test_named_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    assert open_refused(tmp_path / "pipe").code == "not-a-file"


@pytest.mark.timeout(10)
def test_pipe_that_takes_the_files_place_at_the_last_moment_is_refused(
    path, monkeypatch
):
    system_open = os.open

    def swap_then_open(target, flags):
        path.unlink()
        os.mkfifo(path)
        return system_open(target, flags)

    monkeypatch.setattr(os, "open", swap_then_open)

    assert open_refused(path).code == "not-a-file"


def test_device_is_refused_without_opening_it(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(os, "open", lambda *args: opened.append(args))

    assert open_refused(Path("/dev/null")).code == "not-a-file"
    assert opened == []


@pytest.mark.parametrize("device", ["/dev/null", "/dev/zero"])
def test_device_is_not_a_file(tmp_path, device):
    link = tmp_path / "link"
    link.symlink_to(device)

    assert open_refused(link).code == "not-a-file"


def test_symlink_loop_is_not_a_file(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(link)

    assert open_refused(link).code == "not-a-file"


def test_file_the_system_refuses_is_not_readable(path, monkeypatch):
    def refuse(*_args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)

    assert open_refused(path).code == "not-readable"


def test_file_cut_while_open_is_an_error_not_a_signal(path):
    with InputFile(path) as file:
        os.truncate(path, 100)
        with pytest.raises(InputError) as caught:
            file.read(0, 4096)

    assert caught.value.code == "input-changed"


def test_read_error_of_the_disk_is_named(path, monkeypatch):
    def fail(*_args):
        raise OSError(5, "Input/output error")

    with InputFile(path) as file:
        monkeypatch.setattr(os, "preadv", fail)
        with pytest.raises(InputError) as caught:
            file.read(0, 1)

    assert caught.value.code == "read-failed"


def test_unchanged_file_passes_the_check(path):
    with InputFile(path) as file:
        file.read(0, 4096)
        file.check_unchanged()


def append_byte(path):
    with path.open("ab") as file:
        file.write(b"x")


def overwrite_byte_and_reset_time(path):
    status = path.stat()
    with path.open("r+b") as file:
        file.write(b"x")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [append_byte, overwrite_byte_and_reset_time, lambda path: os.truncate(path, 1)],
    ids=["appended", "edited with its time reset", "cut"],
)
def test_file_changed_while_open_is_noticed(path, change):
    with InputFile(path) as file:
        change(path)
        with pytest.raises(InputError) as caught:
            file.check_unchanged()

    assert caught.value.code == "input-changed"


def test_file_replaced_while_open_keeps_its_old_bytes(path, tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"new")

    with InputFile(path) as file:
        other.replace(path)
        assert file.read(0, 3) == b"\0\1\2"


def test_descriptor_is_closed_once(path):
    file = InputFile(path)
    descriptor = file.fileno()

    file.close()
    file.close()

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def window(file, begin=100, nbytes=50):
    return WindowFile(file, file.path / "part", begin=begin, nbytes=nbytes)


def test_window_is_a_file_of_its_own(path):
    with InputFile(path) as file, window(file) as part:
        assert (part.nbytes, part.path) == (50, path / "part")
        assert part.read(0, 50) == bytes(range(100, 150))
        assert part.read(48, 2) == bytes([148, 149])
        with WindowFile(part, path, begin=10, nbytes=2) as inner:
            assert inner.read(0, 2) == bytes([110, 111])


def test_window_outlives_its_file(path):
    with InputFile(path) as file:
        part = window(file)

    assert part.read(0, 1) == bytes([100])
    part.check_unchanged()
    part.close()


@pytest.mark.parametrize(("offset", "nbytes"), [(-1, 1), (50, 1), (0, 51)])
def test_nothing_beside_a_window_is_read(path, offset, nbytes):
    with InputFile(path) as file:
        part = window(file)

    with pytest.raises(ValueError, match="of 50"), part:
        part.read(offset, nbytes)


@pytest.mark.parametrize(("begin", "nbytes"), [(-1, 1), (4096, 1), (0, 4097), (5, -1)])
def test_window_that_leaves_its_file_is_refused(path, begin, nbytes):
    with InputFile(path) as file, pytest.raises(ValueError, match="of 4096"):
        window(file, begin, nbytes)


def test_change_beside_a_window_is_told_of_it(path):
    with InputFile(path) as file, window(file) as part:
        os.truncate(path, 4095)
        with pytest.raises(InputError) as caught:
            part.check_unchanged()

    assert caught.value.code == "input-changed"
    assert str(caught.value).startswith(f"{path / 'part'}: ")
    assert "expected the unchanged 4,096 bytes" in str(caught.value)


def test_descriptor_that_is_open_already_is_taken_over(path):
    descriptor = os.open(path, os.O_RDONLY)

    with InputFile(path / "name", descriptor=descriptor) as file:
        assert (file.nbytes, file.read(7, 1)) == (4096, b"\x07")

    with pytest.raises(OSError, match="descriptor"):
        os.fstat(descriptor)
