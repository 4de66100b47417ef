"""An output that outlives its writer, so that a later run can go on from it."""

import fcntl
import os
import stat
from pathlib import Path
from typing import Final, Self

from release.errors import OutputError, visible
from release.formats.input import InputFile
from release.formats.output import OutputFile
from release.formats.parts import try_lock
from release.formats.space import write_failure
from release.formats.target import check_target

_FLAGS: Final = (
    os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
)
_FICLONE: Final = 0x40049409
"""ioctl_ficlonerange(2); Python names it from 3.12 on."""


class KeptOutput(OutputFile):
    """An output under a name that stays: leaving the context keeps what was written.

    `abort` removes it. Nothing in a part that an earlier run left may be trusted: it
    may have been killed in the middle of any write.
    """

    @classmethod
    def open(cls, path: Path, part: Path) -> Self:
        """Open the output for `path` as `part`, new or as an earlier run left it.

        Args:
            path: The target, which `publish` replaces.
            part: Its name until then, in the same folder.

        Raises:
            OutputError: `not-a-file` when `part` is something else than a regular file
                of this user under one name; `output-busy`; as for `create`.
            WriteError: The system refused.
        """
        old = check_target(path, overwrite=True, inputs=())
        try:
            descriptor = os.open(part, _FLAGS, 0o666)
        except OSError as error:
            raise write_failure(part, error) from error
        output = cls(path, part, descriptor)
        output._overwrite = True
        try:
            _lock(part, descriptor)
            if old is not None:
                os.fchmod(descriptor, stat.S_IMODE(old.st_mode) & 0o777)
        except OSError as error:
            output.leave()
            raise write_failure(part, error) from error
        except BaseException:
            output.leave()
            raise
        return output

    def __exit__(self, *_: object) -> None:
        self.leave()

    @property
    def nbytes(self) -> int:
        """Bytes that the file has now."""
        return os.fstat(self._descriptor).st_size

    def clone(self, source: InputFile) -> bool:
        """Share all of `source`'s bytes; return whether the file system can do that.

        Source:
            ioctl_ficlonerange(2).
        """
        try:
            fcntl.ioctl(self._descriptor, _FICLONE, source.fileno())
        except OSError:
            return False
        return True

    def resize(self, nbytes: int) -> None:
        """Cut or extend the file to the size that it shall have, with room for it.

        Raises:
            NoSpaceError: The file system has no room for it.
            WriteError: The system refused for another reason.
        """
        try:
            os.ftruncate(self._descriptor, nbytes)
            self._preallocate(nbytes)
        except OSError as error:
            raise write_failure(self.path, error, needed=nbytes) from error

    def leave(self) -> None:
        """Close the file and keep what was written, unless it was published."""
        self._has_part = False
        self.abort()


def _lock(part: Path, descriptor: int) -> None:
    """Take the part for this process.

    Raises:
        OutputError: `not-a-file` or `output-busy`.
    """
    status = os.fstat(descriptor)
    is_ours = status.st_uid == os.geteuid() and status.st_nlink == 1
    if not stat.S_ISREG(status.st_mode) or not is_ours:
        raise OutputError(
            f"{visible(part, 1024)}: is not a file that this program left",
            code="not-a-file",
            hint="move it away, then run the command again",
        )
    if not try_lock(descriptor) or not _is_at(part, status):
        raise OutputError(
            f"{visible(part, 1024)}: is being written by someone else",
            code="output-busy",
            hint="wait until the other command has ended",
        )


def _is_at(part: Path, status: os.stat_result) -> bool:
    """Return whether `part` still names the file that was opened.

    Whoever held the lock may have published it meanwhile: it is another's target then.
    """
    try:
        return os.path.samestat(status, part.lstat())
    except FileNotFoundError:
        return False
