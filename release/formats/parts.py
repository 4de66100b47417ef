"""Unfinished outputs: their temporary names, their locks, and removing dead ones.

A part carries an exclusive flock as long as its writer lives. The process number in
its name is for people only; numbers repeat, and containers have their own.
"""

import contextlib
import errno
import fcntl
import os
import re
import stat
from pathlib import Path
from typing import Final

from release.formats.space import write_failure

_PATTERN: Final = re.compile(r"\..+\.[0-9]+\.part", re.DOTALL)
_FLAGS: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NO_LOCKS: Final = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


def part_path(target: Path) -> Path:
    """Return the temporary name of `target` for this process, in the same folder."""
    return target.with_name(f".{target.name}.{os.getpid()}.part")


def lock_part(descriptor: int) -> bool:
    """Lock a new part; return whether it still has a name.

    Between its creation and the lock another process may have taken it for stale.
    Where the file system has no locks, parts are never removed by others either.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return os.fstat(descriptor).st_nlink > 0


def try_lock(descriptor: int) -> bool:
    """Lock a file without waiting; return False when another process holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def remove_stale_parts(directory: Path) -> list[Path]:
    """Remove the parts in `directory` whose writer is gone; return their paths.

    A part is stale if its lock can be taken. Only regular files of this user that
    follow the naming of parts are touched; symlinks and subfolders never are.

    Raises:
        WriteError: `directory` cannot be listed.
    """
    try:
        names = sorted(entry.name for entry in os.scandir(directory))
    except OSError as error:
        raise write_failure(directory, error) from error
    parts = [directory / name for name in names if _PATTERN.fullmatch(name)]
    return [part for part in parts if remove_if_stale(part)]


def remove_if_stale(part: Path) -> bool:
    """Remove `part` if it is ours and nobody holds its lock; return whether it went."""
    try:
        if not stat.S_ISREG(part.lstat().st_mode):
            return False
        descriptor = os.open(part, _FLAGS)
    except OSError:
        return False
    try:
        return _remove_locked(part, descriptor)
    finally:
        os.close(descriptor)


def _remove_locked(part: Path, descriptor: int) -> bool:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
        return False
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(status, part.lstat()):
            part.unlink()
            return True
    return False
