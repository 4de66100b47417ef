"""Giving a finished file its name: never over another one, and never forgotten."""

import ctypes
import errno
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

_AT_FDCWD: Final = -100
_RENAME_NOREPLACE: Final = 1
_UNSUPPORTED: Final = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}


def rename_no_clobber(source: Path, target: Path) -> None:
    """Rename `source` to `target` in one step that fails when `target` exists.

    Asking first and renaming then would leave a moment in which another program's
    file could be lost.

    Raises:
        FileExistsError: `target` exists; nothing was changed.
        OSError: Any other failure of the system.

    Source:
        renameat2(2), flag RENAME_NOREPLACE; link(2) where it is not supported.
    """
    try:
        _rename_noreplace(source, target)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        if source.is_dir():
            source.rename(target)  # refuses a folder with anything in it
            return
        os.link(source, target)
        source.unlink()


def _rename_noreplace(source: Path, target: Path) -> None:
    status = _renameat2()(
        _AT_FDCWD,
        os.fsencode(source),
        _AT_FDCWD,
        os.fsencode(target),
        _RENAME_NOREPLACE,
    )
    if status != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(target))


@functools.cache
def _renameat2() -> Callable[[int, bytes, int, bytes, int], int]:
    """Return the C library's function; one that reports ENOSYS where it has none."""
    library = ctypes.CDLL(None, use_errno=True)
    try:
        function = library.renameat2
    except AttributeError:
        return _no_renameat2
    function.argtypes = [
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_uint,
    ]
    function.restype = ctypes.c_int
    return function


def _no_renameat2(*_arguments: int | bytes) -> int:
    ctypes.set_errno(errno.ENOSYS)
    return -1


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable; a name is data of its directory.

    Raises:
        OSError: The system reports that it could not.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)
