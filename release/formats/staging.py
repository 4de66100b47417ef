"""A folder that appears whole: filled under a temporary name, renamed at the end."""

import fcntl
import functools
import os
import re
import shutil
from pathlib import Path
from typing import Final, Self

from release.errors import OutputError, OutputExistsError, visible
from release.formats.parts import part_path
from release.formats.rename import rename_no_clobber, sync_directory
from release.formats.space import write_failure

_STALE: Final = re.compile(r"\.(.+)\.\d+\.(part|old)", re.DOTALL)


class StagingFolder:
    """A folder being filled; a context manager that leaves nothing unless published.

    Args:
        target: The final path. It must not exist, or be an empty folder, or (with
            `overwrite`) a folder that holds a file named `mark`.
        mark: Name of the file that tells our folders from others.
        overwrite: Whether an older folder of ours may be replaced.

    Attributes:
        path: Where files are written until `publish`.

    Raises:
        OutputExistsError: The target exists and may not be replaced.
        OutputError: The target exists and is not a folder of ours.
        WriteError: The system refused.
    """

    def __init__(self, target: Path, *, mark: str, overwrite: bool = False) -> None:
        self._target = target
        self._refuse = functools.partial(
            _refuse_target, target, mark, overwrite=overwrite
        )
        self._refuse()
        self.path = part_path(target)
        self._old = target.with_name(f".{target.name}.{os.getpid()}.old")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            remove_stale_folders(target)
            self._refuse()
            self.path.mkdir()
            self._lock = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        except OSError as error:
            raise write_failure(target, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)

    def publish(self) -> None:
        """Give the folder its final name; an older one goes only after that.

        Raises:
            OutputExistsError: The target appeared meanwhile.
            OutputError: The target is meanwhile not a folder of ours.
            WriteError: The system refused.
        """
        self._refuse()
        try:
            os.fsync(self._lock)
            if self._target.is_dir():
                self._target.rename(self._old)
            rename_no_clobber(self.path, self._target)
            sync_directory(self._target.parent)
        except FileExistsError as error:
            raise OutputExistsError(self._target) from error
        except OSError as error:
            raise write_failure(self._target, error) from error
        finally:
            self._restore()
        shutil.rmtree(self._old, ignore_errors=True)

    def _restore(self) -> None:
        if self._old.is_dir() and not self._target.exists():
            self._old.rename(self._target)


def remove_stale_folders(target: Path) -> None:
    """Remove what dead writers of `target` left; one with a living writer is kept.

    An older folder that was set aside and never replaced gets its name back.

    Raises:
        OSError: The parent folder cannot be listed.
    """
    for entry in os.scandir(target.parent):
        match = _STALE.fullmatch(entry.name)
        if match is None or match[1] != target.name:
            continue
        if entry.is_dir(follow_symlinks=False) and _lock_is_free(Path(entry.path)):
            if match[2] == "old" and not target.exists():
                Path(entry.path).rename(target)
            shutil.rmtree(entry.path, ignore_errors=True)


def _lock_is_free(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _refuse_target(target: Path, mark: str, *, overwrite: bool) -> None:
    if target.name in {"", ".."}:
        raise OutputError(
            f"{visible(target, 1024)}: cannot be replaced while it is in use",
            code="folder-name",
            hint="name the folder itself with --out, from outside it",
        )
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise OutputError(
            f"{visible(target, 1024)}: exists and is not a folder",
            code="not-a-folder",
            hint="name another place with --out",
        )
    if target.is_mount():
        raise OutputError(
            f"{visible(target, 1024)}: is where a file system is mounted; a release "
            "folder appears by being renamed",
            code="mount-point",
            hint=f"name a folder in it: --out {visible(target / 'NAME', 1024)}",
        )
    if not target.is_dir() or not any(target.iterdir()):
        return
    if not (target / mark).is_file():
        raise OutputError(
            f"{visible(target, 1024)}: is a folder with other files in it (no {mark})",
            code="foreign-folder",
            hint="name a new or empty folder with --out",
        )
    if not overwrite:
        raise OutputExistsError(target)
