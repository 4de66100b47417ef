"""What the whole file is, piece by piece."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from release.formats.scan import Source, blocks, scan
from release.numeric.digest import CHUNK_NBYTES, Xxh3Bits128, xxh3_64

_CHUNK_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a file that is checked, and fetched, as one.

    Attributes:
        begin: First byte in the file.
        end: Byte after the last one.
        digest: xxh3_64 (16 hex digits) of a chunk, xxh3_128 (32) of anything else;
            empty where nothing is known about this part alone.
        name: What the part is called, safe for a terminal; empty for a chunk.
    """

    begin: int
    end: int
    digest: str
    name: str = ""

    @property
    def nbytes(self) -> int:
        """Bytes of the piece, at least one."""
        return self.end - self.begin

    @property
    def is_chunk(self) -> bool:
        """Whether it fits into memory and has a digest for that."""
        return len(self.digest) == _CHUNK_DIGITS

    def is_whole_in(self, source: Source) -> bool:
        """Return whether `source`, which is long enough, holds the piece's bytes."""
        if self.is_chunk:
            (block,) = blocks(source, self.begin, self.end)
            return xxh3_64(block) == self.digest
        digest = Xxh3Bits128()
        scan(source, self.begin, self.end, digest)
        return digest.hexdigest() == self.digest


@dataclass(frozen=True, slots=True)
class Run:
    """Pieces that follow each other without a gap: one request."""

    pieces: tuple[Piece, ...]

    @property
    def begin(self) -> int:
        """First byte."""
        return self.pieces[0].begin

    @property
    def end(self) -> int:
        """Byte after the last one."""
        return self.pieces[-1].end


@dataclass(frozen=True, slots=True)
class Original:
    """What the file was before it was damaged.

    Attributes:
        nbytes: Its size.
        pieces: All of it, in order, without gaps; perhaps without the header.
        told_by: Who says so, as part of a sentence; safe for a terminal.
        xxh3_128: Of the whole file, where known.
        sha256: Of the whole file, where known.
        header: Its first bytes where these had to be fetched to know the rest.
    """

    nbytes: int
    pieces: tuple[Piece, ...]
    told_by: str
    xxh3_128: str | None = None
    sha256: str | None = None
    header: bytes = b""

    @property
    def is_in_pieces(self) -> bool:
        """Whether damage can be found in parts of it."""
        return not self.pieces or self.pieces[0].digest != ""

    @property
    def has_unknown_header(self) -> bool:
        """Whether the header is a piece without a digest, before others with one."""
        return len(self.pieces) > 1 and not self.pieces[0].digest

    @property
    def begins_behind_header(self) -> bool:
        """Whether nothing is known about the bytes of the header."""
        return bool(self.pieces) and self.pieces[0].begin > 0


def chunk_pieces(nbytes: int, digests: Iterable[str]) -> tuple[Piece, ...]:
    """Return the pieces of a file of `nbytes` bytes, one of 1 MiB for every digest."""
    begins = range(0, nbytes, CHUNK_NBYTES)
    return tuple(
        Piece(begin, min(begin + CHUNK_NBYTES, nbytes), digest)
        for begin, digest in zip(begins, digests, strict=True)
    )


def join(pieces: Iterable[Piece]) -> tuple[Run, ...]:
    """Return the pieces, which are in order and do not overlap, as few runs."""
    runs: list[list[Piece]] = []
    for piece in pieces:
        if runs and runs[-1][-1].end == piece.begin:
            runs[-1].append(piece)
        else:
            runs.append([piece])
    return tuple(Run(tuple(run)) for run in runs)


def nbytes_of(pieces: Iterable[Piece]) -> int:
    """Return how many bytes pieces have together."""
    return sum(piece.nbytes for piece in pieces)
