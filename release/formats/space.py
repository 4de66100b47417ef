"""Room on the target's file system, and what a failed write means."""

import errno
import os
from pathlib import Path
from typing import Final

from release.errors import NoSpaceError, OutputError, WriteError, visible

_RESERVE_NBYTES: Final = 64 * 2**20
_RESERVE_FRACTION: Final = 100
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_HINTS: Final = {
    errno.EFBIG: "the file system or a limit (ulimit -f) forbids files of this size; "
    "choose another folder or raise the limit",
    errno.EIO: "the disk reports an error; choose a folder on another disk",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: "check the permissions of the folder, or choose another one",
    errno.EPERM: "check the permissions of the folder, or choose another one",
    errno.ENAMETOOLONG: "choose a shorter file name",
}


def free_bytes(directory: Path) -> int:
    """Return the bytes this user may still write below `directory`.

    Args:
        directory: Need not exist yet; the nearest folder above it that does is asked.

    Raises:
        WriteError: The file system cannot be asked.
    """
    try:
        status = os.statvfs(_existing(directory.absolute()))
    except OSError as error:
        raise write_failure(directory, error) from error
    return status.f_bavail * status.f_frsize


def _existing(path: Path) -> Path:
    return path if path.is_dir() else _existing(path.parent)


def room_for(nbytes: int) -> int:
    """Return the free bytes that are asked for before `nbytes` are written."""
    return nbytes + nbytes // _RESERVE_FRACTION + min(_RESERVE_NBYTES, nbytes)


def require_space(directory: Path, nbytes: int) -> None:
    """Refuse early when `directory` lacks room for `nbytes` and a reserve.

    The reserve is 1 % and as much again as the outputs, 64 MiB at most: records and
    the file system's own need.

    This is a hint: other writers and quotas exist. Preallocation is the proof.

    Args:
        directory: Where the outputs will be written.
        nbytes: Sum over all outputs; old files stay beside new ones until the end.

    Raises:
        NoSpaceError: With the bytes needed and free.
    """
    needed = room_for(nbytes)
    free = free_bytes(directory)
    if free < needed:
        raise NoSpaceError(directory, needed=needed, free=free)


def write_failure(path: Path, error: OSError, *, needed: int = 0) -> OutputError:
    """Return the error for a system call on `path` that failed.

    Args:
        path: The target, not its temporary name.
        error: What the system reported.
        needed: Bytes the target asks for, where known.
    """
    if error.errno in _FULL:
        try:
            free = free_bytes(path.parent)
        except WriteError:
            free = 0
        return NoSpaceError(path, needed=needed, free=free)
    return WriteError(
        f"{visible(path, 1024)}: cannot be written: {error.strerror}",
        hint=_HINTS.get(error.errno or 0, "nothing was changed; try another folder"),
    )
