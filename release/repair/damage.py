"""Finding what is damaged, and whether a file is whole."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from release.errors import InputError
from release.formats.scan import Source, scan
from release.numeric.digest import Sha256, Xxh3Bits128
from release.progress import Advance
from release.repair.pieces import Original, Piece, nbytes_of

_BATCH_NBYTES: Final = 16 * 2**20
"""Pieces that a thread takes together; handing over single ones costs more."""


def find_damage(
    source: Source,
    nbytes: int,
    pieces: Iterable[Piece],
    *,
    threads: int,
    advance: Advance = lambda _: None,
) -> tuple[Piece, ...]:
    """Return those of `pieces` that `source` does not hold, in order.

    A piece that the disk refuses to read is damaged, too.

    Args:
        source: What is read.
        nbytes: Its size; a piece that ends behind it is missing.
        pieces: What it should hold.
        threads: Worker threads.
        advance: Called with bytes done.

    Raises:
        InputError: The file changed meanwhile.
    """

    def damaged_of(batch: list[Piece]) -> list[Piece]:
        bad = [piece for piece in batch if not _is_whole(source, nbytes, piece)]
        advance(nbytes_of(batch))
        return bad

    batches = list(_batches(pieces))
    if threads == 1 or len(batches) == 1:
        return tuple(piece for batch in batches for piece in damaged_of(batch))
    with ThreadPoolExecutor(threads, "krelease-repair") as pool:
        return tuple(piece for bad in pool.map(damaged_of, batches) for piece in bad)


def _is_whole(source: Source, nbytes: int, piece: Piece) -> bool:
    if piece.end > nbytes or not piece.digest:
        return False
    try:
        return piece.is_whole_in(source)
    except InputError as error:
        if error.code != "read-failed":
            raise
        return False


def _batches(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    batch: list[Piece] = []
    nbytes = 0
    for piece in pieces:
        batch.append(piece)
        nbytes += piece.nbytes
        if nbytes >= _BATCH_NBYTES:
            yield batch
            batch, nbytes = [], 0
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class Check:
    """How a whole file was compared with its original.

    Attributes:
        how: What was compared, as part of a sentence.
        got: The digest found; empty for the digests of the pieces.
        expected: The digest it must be; empty as `got`.
        is_whole: Whether they agree.
    """

    how: str
    got: str
    expected: str
    is_whole: bool


def parts_check(original: Original, bad: Sequence[Piece]) -> Check:
    """Return the check of a file that is known by its parts alone."""
    how = "the xxh3 of header and tensors"
    if original.begins_behind_header or original.has_unknown_header:
        how = "the xxh3 of each tensor; its metadata has no digest"
    return Check(how, "", "", is_whole=not bad)


def check_whole(
    source: Source, original: Original, *, threads: int, advance: Advance
) -> Check:
    """Compare a file of the right size with all that is known about the original.

    Raises:
        InputError: An input changed or cannot be read.
        WriteError: An output cannot be read back.
    """
    if original.xxh3_128 is None and original.sha256 is None:
        pieces = original.pieces[original.has_unknown_header :]
        damaged = find_damage(
            source, original.nbytes, pieces, threads=threads, advance=advance
        )
        return parts_check(original, damaged)
    quick, identity = Xxh3Bits128(), Sha256()
    digests = (quick,) if original.sha256 is None else (quick, identity)
    scan(source, 0, original.nbytes, *digests, advance=advance)
    found = quick.hexdigest()
    if original.sha256 is None or original.xxh3_128 not in {None, found}:
        expected = str(original.xxh3_128)
        return Check("xxh3_128", found, expected, is_whole=found == expected)
    found = identity.hexdigest()
    return Check("SHA-256", found, original.sha256, is_whole=found == original.sha256)
