"""Where whole bytes come from: another copy on disk, or a server (`release.hub`)."""

import os
from collections.abc import Generator
from pathlib import Path
from typing import Protocol

from release.errors import UsageError, visible
from release.formats.input import InputFile
from release.formats.scan import blocks
from release.numeric.digest import Bytes


class RangeSource(Protocol):
    """A copy of the file that can be read by byte range.

    Nothing that it says is trusted: its size and SHA-256 are compared with what the
    file must be, its bytes with their digests.
    """

    @property
    def label(self) -> str:
        """What it is called in a sentence; safe for a terminal, without secrets."""

    @property
    def nbytes(self) -> int:
        """Bytes of the whole copy."""

    @property
    def sha256(self) -> str | None:
        """SHA-256 that its keeper states, 64 lower-case digits; None: states none."""

    def read_range(self, begin: int, end: int) -> Generator[Bytes, None, None]:
        """Yield exactly the bytes from `begin` to `end` (excluded), in order.

        A block is valid until the next one is asked for.

        Raises:
            HubError: The server refuses, stumbles, or answers something else.
            InputError: The copy on disk changed or cannot be read.
        """

    def close(self) -> None:
        """Give up files and connections."""


class FileSource:
    """A copy on disk.

    Args:
        path: The copy.
        damaged: The file to repair, which must be another one.

    Raises:
        InputError: The copy cannot be opened.
        UsageError: `same-file`.
    """

    sha256 = None

    def __init__(self, path: Path, *, damaged: Path) -> None:
        self._file = InputFile(path)
        self.label = visible(path, 1024)
        self.nbytes = self._file.nbytes
        if damaged.exists() and os.path.samestat(
            os.fstat(self._file.fileno()), damaged.stat()
        ):
            self._file.close()
            raise UsageError(
                f"--from {self.label}: is the file to repair itself",
                code="same-file",
                hint="name another copy of it",
            )

    def read_range(self, begin: int, end: int) -> Generator[Bytes, None, None]:
        """Yield the bytes from `begin` to `end`; see `RangeSource`."""
        yield from blocks(self._file, begin, end)
        self._file.check_unchanged()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
