"""Output files that are complete and durable before they are visible.

Bytes go to a temporary name beside the target. Only when they are on the disk does the
target get its name, in one step. Whatever stops the program, the target is the old
file, the complete new one, or absent as before.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from release.errors import OutputError, OutputExistsError, WriteError, visible
from release.formats.parts import (
    lock_part,
    part_path,
    remove_if_stale,
    remove_stale_parts,
)
from release.formats.rename import rename_no_clobber, sync_directory
from release.formats.space import free_bytes, require_space, write_failure
from release.formats.target import check_target

__all__ = [
    "OutputFile",
    "free_bytes",
    "make_room",
    "remove_stale_parts",
    "require_space",
    "write_text_file",
]

_CALL_NBYTES_MAX: Final = 8 * 2**20
_CREATE_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_NO_PREALLOCATION: Final = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_ATTEMPTS: Final = 3


class OutputFile:
    """A file being written; a context manager that leaves nothing unless published.

    `write_at` and `read_into` may be called by several threads at once; everything
    else belongs to one thread.

    Attributes:
        path: The target.
        preallocated: Whether the file system has promised room for all bytes.
    """

    def __init__(self, path: Path, part: Path, descriptor: int) -> None:
        self.path = path
        self.preallocated = False
        self._part = part
        self._descriptor = descriptor
        self._nbytes: int | None = None
        self._position = 0
        self._is_synced = False
        self._has_failed = False
        self._has_part = True
        self._overwrite = False

    @classmethod
    def create(
        cls,
        path: Path,
        nbytes: int | None,
        *,
        overwrite: bool = False,
        inputs: Sequence[os.stat_result] = (),
    ) -> Self:
        """Open a new output under its temporary name.

        Args:
            path: The target. Its folder must exist.
            nbytes: Exact size, which is preallocated; None for small files whose size
                is not known.
            overwrite: Whether `publish` may replace an existing file. A symlink is
                replaced itself, never what it points to.
            inputs: Files this output is made from; without `overwrite` the target must
                not be one of them under another name.

        Raises:
            OutputError: `output-is-input`, `not-a-file`, `output-is-symlink`,
                `no-directory` or `output-busy`.
            OutputExistsError: The target exists.
            NoSpaceError: The file system has no room for `nbytes`.
            WriteError: The system refused for another reason.
        """
        old = check_target(path, overwrite=overwrite, inputs=inputs)
        output = cls(path, *_open_part(path))
        output._overwrite = overwrite
        try:
            if old is not None and stat.S_ISREG(old.st_mode):
                os.fchmod(output._descriptor, stat.S_IMODE(old.st_mode) & 0o777)
            output._preallocate(nbytes)
        except OSError as error:
            output.abort()
            raise write_failure(path, error, needed=nbytes or 0) from error
        except BaseException:
            output.abort()
            raise
        return output

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()

    def write_at(self, offset: int, data: memoryview | bytes) -> None:
        """Write all of `data` at `offset` bytes from the start.

        Raises:
            NoSpaceError: The disk is full.
            WriteError: The system refused for another reason.
        """
        self._is_synced = False
        rest = memoryview(data).cast("B")
        while rest:
            try:
                count = _write_some(self._descriptor, rest, offset)
            except OSError as error:
                self._has_failed = True
                needed = max(self._nbytes or 0, offset + len(rest))
                raise write_failure(self.path, error, needed=needed) from error
            offset += count
            rest = rest[count:]

    def append(self, data: memoryview | bytes) -> None:
        """Write `data` behind what was appended before; for one thread.

        Raises:
            NoSpaceError: The disk is full.
            WriteError: The system refused for another reason.
        """
        view = memoryview(data).cast("B")
        self.write_at(self._position, view)
        self._position += len(view)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with what the file now holds from `offset`.

        Raises:
            WriteError: The file ends earlier or cannot be read.
        """
        rest = buffer.cast("B")
        while rest:
            try:
                count = os.preadv(self._descriptor, [rest[:_CALL_NBYTES_MAX]], offset)
            except OSError as error:
                self._has_failed = True
                raise write_failure(self.path, error) from error
            if count == 0:
                raise self._failure(f"reads back only up to byte {offset:,}")
            offset += count
            rest = rest[count:]

    def sync(self, *, drop_cache: bool = True) -> None:
        """Wait until everything written is on the disk.

        A failure is final. The kernel may report it once and forget the bytes, so a
        second attempt that succeeds would prove nothing.

        Args:
            drop_cache: Whether reading back shall come from the disk rather than from
                memory.

        Raises:
            NoSpaceError: The disk is full.
            WriteError: The system reports an error.
        """
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            self._has_failed = True
            raise write_failure(self.path, error, needed=self._nbytes or 0) from error
        if drop_cache:
            with contextlib.suppress(OSError):
                os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        self._is_synced = True

    def publish(self) -> None:
        """Give the file its name; afterwards it is closed.

        Syncs first where something was written since the last `sync`.

        Raises:
            OutputExistsError: The target appeared meanwhile and may not be replaced.
            WriteError: A write failed before, the size is not the planned one, or the
                system refused.
        """
        try:
            self._require_complete()
            self._close_checked()
            self._rename()
            sync_directory(self.path.parent)
        except FileExistsError as error:
            raise OutputExistsError(self.path) from error
        except OSError as error:
            raise write_failure(self.path, error, needed=self._nbytes or 0) from error
        finally:
            self.abort()

    def abort(self) -> None:
        """Close the file, and remove it unless it was published."""
        if self._has_part:
            with contextlib.suppress(OSError):
                self._part.unlink()
            self._has_part = False
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _preallocate(self, nbytes: int | None) -> None:
        self._nbytes = nbytes
        if not nbytes:
            return
        try:
            os.posix_fallocate(self._descriptor, 0, nbytes)
            self.preallocated = True
        except OSError as error:
            if error.errno not in _NO_PREALLOCATION:
                raise
            require_space(self.path.parent, nbytes)

    def _require_complete(self) -> None:
        if self._has_failed:
            raise self._failure("a write failed before")
        if not self._is_synced:
            self.sync(drop_cache=False)
        size = os.fstat(self._descriptor).st_size
        if self._nbytes is not None and size != self._nbytes:
            raise self._failure(f"holds {size:,} bytes, expected {self._nbytes:,}")

    def _close_checked(self) -> None:
        """Close once for the errors that only closing reports; keep the lock."""
        descriptor, self._descriptor = self._descriptor, os.dup(self._descriptor)
        os.close(descriptor)

    def _rename(self) -> None:
        if self._overwrite:
            self._part.replace(self.path)
        else:
            rename_no_clobber(self._part, self.path)
        self._has_part = False

    def _failure(self, reason: str) -> WriteError:
        return WriteError(
            f"{visible(self.path, 1024)}: {reason}",
            hint="run the command again; if it fails again, use another disk",
        )


def _write_some(descriptor: int, data: memoryview, offset: int) -> int:
    """Write a beginning of `data`; return its bytes, at least one."""
    count = os.pwrite(descriptor, data[:_CALL_NBYTES_MAX], offset)
    if count == 0:
        raise OSError(errno.EIO, "no byte was accepted")
    return count


def _open_part(path: Path) -> tuple[Path, int]:
    """Return a new part for `path` and its locked descriptor."""
    part = part_path(path)
    for _ in range(_ATTEMPTS):
        try:
            descriptor = os.open(part, _CREATE_FLAGS, 0o666)
        except FileExistsError:
            remove_if_stale(part)
            continue
        except OSError as error:
            raise write_failure(path, error) from error
        if lock_part(descriptor):
            return part, descriptor
        os.close(descriptor)
    raise OutputError(
        f"{visible(path, 1024)}: is being written by someone else",
        code="output-busy",
        hint=f"wait for the other writer, or remove {visible(part.name, 300)}",
    )


def make_room(directory: Path, nbytes: int) -> None:
    """Remove the parts whose writers are gone, and refuse early when there is no room.

    A killed run leaves its part, which may hold as much as its whole output. Nobody
    knows of it any more, whatever name it was for; a living writer's lock protects its
    own. Where locks do not reach other machines, a writer there may lose its part, and
    fails when it would give it its name; what has a name is never touched.

    Args:
        directory: Where the outputs will be written.
        nbytes: Sum over all outputs.

    Raises:
        NoSpaceError: As for `require_space`.
    """
    with contextlib.suppress(WriteError):  # it may be written to and not be listed
        remove_stale_parts(directory)
    require_space(directory, nbytes)


def write_text_file(path: Path, text: str | bytes, *, overwrite: bool = False) -> None:
    """Write a small file, text in UTF-8, as durably as a checkpoint.

    Raises:
        OutputError: As for `OutputFile.create`.
        WriteError: The system refused, or the bytes do not read back.
    """
    data = text.encode() if isinstance(text, str) else text
    with OutputFile.create(path, len(data), overwrite=overwrite) as output:
        output.append(data)
        output.sync()
        copy = bytearray(len(data))
        output.read_into(0, memoryview(copy))
        if copy != data:
            raise WriteError(
                f"{visible(path, 1024)}: does not read back as it was written",
                hint="run the command again; if it fails again, use another disk",
            )
        output.publish()
