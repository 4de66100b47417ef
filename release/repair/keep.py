"""Keeping the damaged file under another name."""

import errno
import os
from pathlib import Path
from typing import Final

from release.errors import OutputExistsError
from release.formats.rename import rename_no_clobber
from release.formats.space import write_failure

_NO_LINKS: Final = {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS}


def damaged_path(path: Path) -> Path:
    """Return where the damaged file is kept."""
    return path.with_name(f"{path.name}.damaged")


def keep_damaged(path: Path) -> Path:
    """Give the damaged file a second name, and return it.

    Where the file system has no second names, the file is renamed.

    Raises:
        OutputExistsError: The name is taken by another file.
        WriteError: The system refused.
    """
    kept = damaged_path(path)
    try:
        _link(path, kept)
    except FileExistsError as error:
        raise OutputExistsError(
            kept, hint="move it away, or leave --keep out"
        ) from error
    except OSError as error:
        raise write_failure(kept, error) from error
    return kept


def _link(path: Path, kept: Path) -> None:
    try:
        os.link(path, kept, follow_symlinks=False)
    except FileExistsError:
        if not os.path.samestat(path.lstat(), kept.lstat()):
            raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        rename_no_clobber(path, kept)
