"""Input files: opened once, read by position, watched for change.

One descriptor serves header, digests and data, so that what was checked is what is
used. Files are never memory-mapped: a file cut while mapped kills the process by a
signal, a file cut while read is an error with a name.
"""

import errno
import os
import stat
from pathlib import Path
from typing import Final, NamedTuple, Self

from release.errors import InputError

_OPEN_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_CALL_NBYTES_MAX: Final = 8 * 2**20
"""Bytes of one system call, so that an interrupt is seen within milliseconds."""

_KINDS: Final = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
_MISSING: Final = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}


class Fingerprint(NamedTuple):
    """What tells one state of a file from another without reading it.

    The change time is part of it: an edit hidden by resetting the modification time
    still moves it.
    """

    dev: int
    ino: int
    size: int
    mtime_ns: int
    ctime_ns: int


def fingerprint_of(status: os.stat_result) -> Fingerprint:
    """Return the fingerprint that `status` stands for."""
    return Fingerprint(
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


class InputFile:
    """A regular file opened for reading; a context manager.

    A symlink is followed: the Hub's cache consists of them.

    Args:
        path: The file.
        descriptor: Of that file, if it is open already; it then belongs to this object.

    Attributes:
        path: The file.
        nbytes: Its bytes.
        begin: First of them within what the descriptor reads.
        fingerprint: The state in which it was opened.

    Raises:
        InputError: `not-found`, `not-a-file` (directory, pipe, device, symlink loop)
            or `not-readable`.
    """

    def __init__(self, path: Path, *, descriptor: int | None = None) -> None:
        self.path = path
        self._descriptor = _open_regular(path) if descriptor is None else descriptor
        self.begin = 0
        self.fingerprint = fingerprint_of(os.fstat(self._descriptor))
        self.nbytes = self.fingerprint.size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """Return the descriptor, which stays owned by this object."""
        return self._descriptor

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def read(self, offset: int, nbytes: int) -> bytes:
        """Return `nbytes` bytes from `offset`.

        Raises:
            InputError: `input-changed` when the file ends earlier, `read-failed` when
                the system reports an error.
        """
        buffer = bytearray(nbytes)
        self.read_into(offset, memoryview(buffer))
        return bytes(buffer)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`; several threads may do so at once.

        Args:
            offset: Bytes from the start of the file.
            buffer: Writable and contiguous; filled completely.

        Raises:
            InputError: As for `read`.
        """
        rest = buffer.cast("B")
        while rest:
            block, place = rest[:_CALL_NBYTES_MAX], self.begin + offset
            try:
                count = os.preadv(self._descriptor, [block], place)
            except OSError as error:
                raise self._read_failure(offset, error) from error
            if count == 0:
                raise self._changed(
                    f"ended at byte {offset:,}, expected {len(rest):,} bytes more"
                )
            offset += count
            rest = rest[count:]

    def check_unchanged(self) -> None:
        """Compare the open file with the state in which it was opened.

        Raises:
            InputError: `input-changed` when size, modification or change time differ.
        """
        now = fingerprint_of(os.fstat(self._descriptor))
        if now != self.fingerprint:
            raise self._changed(
                f"changed while it was read, got {now.size:,} bytes, "
                f"expected the unchanged {self.fingerprint.size:,} bytes"
            )

    def _changed(self, reason: str) -> InputError:
        return InputError(
            self.path,
            reason,
            code="input-changed",
            hint="run the command again when nothing else writes to the file",
        )

    def _read_failure(self, offset: int, error: OSError) -> InputError:
        return InputError(
            self.path,
            f"cannot be read at byte {offset:,}: {error.strerror}",
            code="read-failed",
            hint="check the disk, then copy or download the file again",
        )


class WindowFile(InputFile):
    """A range of an open file, as if it were a file of its own.

    Closing it leaves the other file open, and the other way round. That the file
    changed, in the range or beside it, is found for both.

    Args:
        file: The file; its open state is what the window is compared with.
        path: What messages call the window.
        begin: First byte, from the start of `file`.
        nbytes: Bytes of the window.

    Raises:
        ValueError: The range leaves the file.
    """

    def __init__(self, file: InputFile, path: Path, *, begin: int, nbytes: int) -> None:
        if not 0 <= begin <= begin + nbytes <= file.nbytes:
            message = f"bytes {begin} to {begin + nbytes} of {file.nbytes}"
            raise ValueError(message)
        self.path = path
        self._descriptor = os.dup(file.fileno())
        self.begin = file.begin + begin
        self.fingerprint = file.fingerprint
        self.nbytes = nbytes

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset` bytes inside the window; see `InputFile`.

        Raises:
            InputError: As for `InputFile.read`.
            ValueError: The range leaves the window.
        """
        if not 0 <= offset <= self.nbytes - buffer.nbytes:
            message = f"bytes {offset} to {offset + buffer.nbytes} of {self.nbytes}"
            raise ValueError(message)
        super().read_into(offset, buffer)


def opened(source: Path | InputFile) -> InputFile:
    """Return `source` open; a file that is so already is taken over as it is.

    Raises:
        InputError: As for `InputFile`.
    """
    return source if isinstance(source, InputFile) else InputFile(source)


def _open_regular(path: Path) -> int:
    """Return a descriptor of the regular file at `path`.

    The check before opening spares devices and gives nicer messages; the check after
    it decides.
    """
    try:
        _require_regular(path, path.stat())
        descriptor = os.open(path, _OPEN_FLAGS)
    except (OSError, ValueError) as error:
        raise _open_failure(path, error) from error
    try:
        _require_regular(path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _require_regular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "a special file")
        raise InputError(
            path,
            f"is {kind}, expected a regular file",
            code="not-a-file",
            hint="name the checkpoint file itself",
        )


def _open_failure(path: Path, error: OSError | ValueError) -> InputError:
    """Return the error for `path`; a ValueError is a NUL character in the path."""
    if isinstance(error, ValueError) or error.errno in _MISSING:
        return InputError(
            path,
            "not found",
            code="not-found",
            hint="check the spelling and the folder; relative paths start at the "
            "current one",
        )
    if error.errno == errno.ELOOP:
        return InputError(
            path,
            "is a symlink that leads back to itself, expected a regular file",
            code="not-a-file",
            hint="name the checkpoint file itself",
        )
    return InputError(
        path,
        f"cannot be opened: {error.strerror}",
        code="not-readable",
        hint="check the permissions of the file and its folder",
    )
