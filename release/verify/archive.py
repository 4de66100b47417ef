"""A release archive, read without unpacking it: its members, in place.

A stored member is a range of the archive and can be verified like a file of its own. A
deflated one is inflated as it is read; a small one can be opened as well.
"""

import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from release.errors import InputError, IntegrityError, ReleaseError, WriteError, visible
from release.formats.input import InputFile, WindowFile, opened
from release.formats.refused import RefusedError
from release.formats.scan import Digest, blocks
from release.formats.unzip.files import PackedFile, read_files
from release.formats.unzip.source import Source
from release.progress import Advance

OPENED_NBYTES_MAX: Final = 64 * 2**20
"""Bytes of a deflated member that can be opened: cards, manifests, small adapters."""

_INFLATE_NBYTES: Final = 2**20

_AGAIN: Final = "download the archive again"
_CRAFTED: Final = "do not unpack it; get the archive from the release itself"
_UNPACK: Final = "unpack it, then run krelease verify on the folder"
_HINTS: Final = {
    "zip-compressed": _UNPACK,
    "zip-crc": _AGAIN,
    "zip-format": _AGAIN,
}
_INPUT_HINTS: Final = {
    "input-changed": "run the command again when nothing else writes to the file",
    "read-failed": "check the disk, then copy or download the file again",
}
_CODES: Final = {"format": "zip-format", "compressed": "zip-compressed"}


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """One file of an open archive.

    Attributes:
        name: Relative path with `/`; safe below any folder.
        nbytes: Bytes of the file, unpacked.
        is_stored: Whether it lies in the archive as it is.
    """

    name: str
    nbytes: int
    is_stored: bool
    _file: InputFile
    _packed: PackedFile

    def scan(self, *digests: Digest, advance: Advance = lambda _: None) -> None:
        """Add the member's bytes to every digest, and compare its CRC-32.

        Works for members of any size in one reading and in constant memory.

        Args:
            digests: What the unpacked bytes are added to; none checks the CRC alone.
            advance: Called with unpacked bytes.

        Raises:
            IntegrityError: `zip-crc`, or `zip-size` for a member that does not unpack
                to its size.
            InputError: The archive changed or cannot be read.
        """
        checksum = 0
        for block in self._blocks():
            checksum = zlib.crc32(block, checksum)
            for digest in digests:
                digest.update(block)
            advance(len(block))
        if checksum != self._packed.crc:
            self._file.check_unchanged()  # a file that was written to is no damage
            raise self._fault(
                "zip-crc",
                f"has CRC-32 {checksum:08x}, expected {self._packed.crc:08x}",
            )

    def open(self) -> InputFile:
        """Return the member as an input file, which the caller closes.

        Its CRC-32 is not compared: `scan` does that. A stored member is a window over
        the archive; a deflated one is inflated into a file without a name.

        Raises:
            IntegrityError: `zip-compressed` for a deflated member of more than
                `OPENED_NBYTES_MAX` bytes, `zip-size` for one of another size than it
                says.
            InputError: The archive changed or cannot be read.
            WriteError: There is no room for temporary files.
        """
        path = self._file.path / self.name
        begin = self._packed.begin
        if self.is_stored:
            return WindowFile(self._file, path, begin=begin, nbytes=self.nbytes)
        if self.nbytes > OPENED_NBYTES_MAX:
            raise self._fault(
                "zip-compressed",
                f"is compressed and has {self.nbytes:,} bytes, expected at most "
                f"{OPENED_NBYTES_MAX:,} or a member that is stored as it is",
            )
        return self._inflated(path)

    def _inflated(self, path: Path) -> InputFile:
        try:
            with tempfile.TemporaryFile() as copy:
                for block in self._blocks():
                    copy.write(block)
                copy.flush()
                return InputFile(path, descriptor=os.dup(copy.fileno()))
        except OSError as error:
            raise WriteError(
                f"{visible(path, 1024)}: cannot be inflated: {error.strerror}",
                hint="make room in the folder for temporary files, or set TMPDIR",
            ) from error

    def _blocks(self) -> Iterator[memoryview | bytes]:
        packed, begin = self._packed, self._packed.begin
        if self.is_stored:
            yield from blocks(self._file, begin, begin + packed.packed)
            return
        stream = zlib.decompressobj(-zlib.MAX_WBITS)
        n_left, n_read = self.nbytes, 0
        try:
            for block in blocks(self._file, begin, begin + packed.packed):
                if stream.eof:
                    break
                n_read += len(block)
                for part in _parts(stream, block, n_left):
                    n_left -= len(part)
                    yield part
        except zlib.error:
            raise self._fault("zip-crc", "cannot be inflated") from None
        is_whole = stream.eof and n_read == packed.packed and not stream.unused_data
        if n_left or not is_whole:
            raise self._fault(
                "zip-size", f"does not inflate to its {self.nbytes:,} bytes"
            )

    def _fault(self, code: str, reason: str) -> ReleaseError:
        return _error(code, self._file.path, f"member {visible(self.name)} {reason}")


def _parts(
    stream: "zlib._Decompress", block: memoryview, n_left: int
) -> Iterator[bytes]:
    """Yield what `block` inflates to, and at most one byte more than `n_left`."""
    packed: memoryview | bytes = block
    while n_left >= 0:
        part = stream.decompress(packed, min(_INFLATE_NBYTES, n_left + 1))
        packed = stream.unconsumed_tail
        n_left -= len(part)
        if not part:
            return
        yield part


@dataclass(frozen=True, slots=True)
class Archive:
    """An open archive whose directory is checked.

    Attributes:
        path: The archive.
        nbytes: Bytes of the archive.
        members: Its files, in the order of its directory; folders are not among them.
    """

    path: Path
    nbytes: int
    members: tuple[ArchiveMember, ...]
    _file: InputFile

    def check_unchanged(self) -> None:
        """Compare the open archive with the state in which it was opened.

        Raises:
            InputError: `input-changed`.
        """
        self._file.check_unchanged()


@contextmanager
def open_archive(source: Path | InputFile) -> Iterator[Archive]:
    """Open a zip archive of a release and check everything but its members' data.

    Args:
        source: The archive; one that is open already is closed at the end, too.

    Raises:
        InputError: It cannot be opened, or changed.
        IntegrityError: It is no archive that can be trusted: `zip-format` (cut short,
            overlapping or broken records), `zip-compressed` (a method other than
            deflate), `zip-duplicate`, `zip-flags` (encrypted), `zip-gap` (bytes that
            belong to no member), `zip-member` (symlink, too many), `zip-mismatch`
            (two records that contradict one another), `zip-size` (unpacks to far more
            than it is), `path` (a name that leaves the folder).
    """
    with opened(source) as file:
        try:
            files = read_files(Source(file.fileno()))
        except RefusedError as refusal:
            code = _CODES.get(refusal.code, refusal.code)
            raise _error(code, file.path, refusal.reason) from None
        except IntegrityError as error:
            raise IntegrityError(
                f"{visible(file.path, 1024)}: {error}", code=error.code, hint=_CRAFTED
            ) from None
        members = (
            ArchiveMember(each.name, each.nbytes, each.is_stored, file, each)
            for each in files
        )
        yield Archive(file.path, file.nbytes, tuple(members), file)


def _error(code: str, path: Path, reason: str) -> ReleaseError:
    if code in _INPUT_HINTS:
        return InputError(path, reason, code=code, hint=_INPUT_HINTS[code])
    return IntegrityError(
        f"{visible(path, 1024)}: {reason}", code=code, hint=_HINTS.get(code, _CRAFTED)
    )
