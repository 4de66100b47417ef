"""Refusals before a byte is written: what an output's path may be."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from release.errors import OutputError, OutputExistsError, visible
from release.formats.space import write_failure


def check_target(
    path: Path, *, overwrite: bool, inputs: Sequence[os.stat_result]
) -> os.stat_result | None:
    """Return the state of the file that will be replaced, None where there is none.

    Raises:
        OutputError: `no-directory` when the folder is missing; `not-a-file` for a
            directory or device; without `overwrite` also `output-is-input` for an
            input under any name, and `output-is-symlink`.
        OutputExistsError: The target exists and `overwrite` is not set.
        WriteError: The folder cannot be looked into.
    """
    try:
        _require_directory(path)
        old = path.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise write_failure(path, error) from error
    if not stat.S_ISREG(old.st_mode) and not stat.S_ISLNK(old.st_mode):
        raise OutputError(
            f"{visible(path, 1024)}: is not a regular file and cannot be replaced",
            code="not-a-file",
            hint="name a file inside the folder",
        )
    if not overwrite:
        raise _exists(path, old, inputs)
    return old


def _require_directory(path: Path) -> None:
    if "\0" in str(path) or not path.parent.is_dir():
        raise OutputError(
            f"{visible(path, 1024)}: {visible(path.parent, 1024)} is not a folder",
            code="no-directory",
            hint="create the folder first, or name another one",
        )


def _exists(
    path: Path, old: os.stat_result, inputs: Sequence[os.stat_result]
) -> OutputError:
    """Return the refusal that says most; names are compared by file, not by text."""
    if _is_input(path, inputs):
        return OutputError(
            f"{visible(path, 1024)}: is one of the inputs",
            code="output-is-input",
            hint="name another output, or pass --force to replace the input",
        )
    if stat.S_ISLNK(old.st_mode):
        return OutputError(
            f"{visible(path, 1024)}: is a symlink",
            code="output-is-symlink",
            hint="name the file itself, or pass --force to replace the link",
        )
    return OutputExistsError(path)


def _is_input(path: Path, inputs: Sequence[os.stat_result]) -> bool:
    try:
        target = path.stat()
    except OSError:
        return False
    return any(os.path.samestat(target, source) for source in inputs)
