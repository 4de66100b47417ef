"""Fetching pieces: each one is compared with its digest before it counts."""

from collections.abc import Callable, Iterable
from contextlib import closing

from release.errors import IntegrityError
from release.formats.kept_output import KeptOutput
from release.numeric.digest import Bytes, Xxh3Bits128, xxh3_64
from release.progress import Advance
from release.repair.pieces import Original, Piece, Run, join
from release.repair.source import RangeSource


def fetch_pieces(
    source: RangeSource,
    pieces: Iterable[Piece],
    copy: KeptOutput,
    original: Original,
    *,
    advance: Advance,
) -> None:
    """Fetch pieces into the copy, those that follow each other in one request.

    A chunk is written when its digest agrees. A larger piece is written while it
    arrives: the copy is trusted by its digests alone, so what is wrong there is found
    again by whoever goes on from it.

    Args:
        source: Where they come from.
        pieces: What is lacking, in order.
        copy: Where they go.
        original: For messages: who says what they are.
        advance: Called with the bytes of each block that arrived.

    Raises:
        HubError: As for `RangeSource.read_range`.
        InputError: As for `RangeSource.read_range`.
        IntegrityError: `source-bytes`; other bytes arrived.
        OutputError: The copy cannot be written.
    """

    def refuse(piece: Piece) -> None:
        what = f"{piece.name}, " if piece.name else ""
        raise IntegrityError(
            f"{source.label}: {what}bytes {piece.begin:,} to {piece.end:,} are not "
            f"those that {original.told_by} names; the file is as it was",
            code="source-bytes",
            hint="that copy is damaged, or it is another file: name another --from",
        )

    for run in join(pieces):
        _fetch_run(source, run, copy, refuse=refuse, advance=advance)


def _fetch_run(
    source: RangeSource,
    run: Run,
    copy: KeptOutput,
    *,
    refuse: Callable[[Piece], None],
    advance: Advance,
) -> None:
    waiting = iter(run.pieces)
    arrival = _Arrival(next(waiting), copy)
    with closing(source.read_range(run.begin, run.end)) as blocks:
        for block in blocks:
            advance(len(block))
            rest = memoryview(block)
            while rest:
                rest = arrival.take(rest)
                if arrival.n_lacking == 0:
                    if not arrival.is_whole():
                        refuse(arrival.piece)
                    following = next(waiting, None)
                    if following is None:
                        return
                    arrival = _Arrival(following, copy)
    refuse(arrival.piece)


class _Arrival:
    """A piece on its way into the copy."""

    def __init__(self, piece: Piece, copy: KeptOutput) -> None:
        self.piece = piece
        self.n_lacking = piece.nbytes
        self._copy = copy
        self._chunk = bytearray()
        self._digest = Xxh3Bits128()

    def take(self, block: Bytes) -> memoryview:
        """Take what belongs to the piece and return the rest of `block`."""
        view = memoryview(block)
        mine, rest = view[: self.n_lacking], view[self.n_lacking :]
        if self.piece.is_chunk:
            self._chunk += mine
        else:
            self._digest.update(mine)
            self._copy.write_at(self.piece.end - self.n_lacking, mine)
        self.n_lacking -= len(mine)
        return rest

    def is_whole(self) -> bool:
        """Compare the piece, all of which has arrived, and write what is not written.

        One without a digest of its own is left to the check of the whole file.
        """
        if not self.piece.is_chunk:
            return self.piece.digest in {"", self._digest.hexdigest()}
        if xxh3_64(self._chunk) != self.piece.digest:
            return False
        self._copy.write_at(self.piece.begin, memoryview(self._chunk))
        return True
