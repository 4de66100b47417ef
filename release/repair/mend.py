"""Mending: a copy is filled, compared as a whole, and takes the file's place."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from release.errors import IntegrityError
from release.formats.input import InputFile
from release.formats.kept_output import KeptOutput
from release.formats.scan import blocks
from release.repair.copy import copy_path, fill_from_damaged
from release.repair.damage import Check
from release.repair.fetch import fetch_pieces
from release.repair.header import require_header
from release.repair.keep import keep_damaged
from release.repair.pieces import Original, Piece, join, nbytes_of
from release.repair.work import Work


@dataclass(frozen=True, slots=True)
class Mended:
    """What was done, or would be.

    Attributes:
        to_fetch_nbytes: Bytes to fetch, with those that were fetched to find out.
        n_ranges: Ranges to ask for, without the header.
        check: How the whole file was compared; None: it was not.
        kept: Where the damaged file is now.
    """

    to_fetch_nbytes: int
    n_ranges: int
    check: Check | None = None
    kept: Path | None = None


def plan(work: Work, original: Original, bad: Sequence[Piece]) -> Mended:
    """Return what mending would fetch; nothing is written.

    Raises:
        InputError: What an earlier run left cannot be read.
    """
    lacking: Sequence[Piece] = original.pieces if work.options.full else bad
    left = copy_path(work.file.path)
    if left.is_file() and not left.is_symlink():
        with InputFile(left) as copy:
            lacking = work.damage_in(
                copy, copy.nbytes, lacking, label="look at an earlier repair"
            )
    lacking = _without_header(lacking, original)
    return Mended(work.tally.nbytes + nbytes_of(lacking), len(join(lacking)))


def mend(work: Work, original: Original, bad: Sequence[Piece]) -> Mended:
    """Fetch what is damaged into a copy, and put it in the file's place.

    Raises:
        ReleaseError: As for `release.repair.repair.repair`; the file is as it was.
    """
    path = work.file.path
    with KeptOutput.open(path, copy_path(path)) as copy:
        is_new, before = copy.nbytes == 0, work.tally.nbytes
        try:
            mended = _complete(work, copy, original, bad)
            work.file.check_unchanged()
            kept = keep_damaged(path) if work.options.keep else None
            copy.publish()
        except BaseException:
            if is_new and work.tally.nbytes == before:
                copy.abort()
            raise
    return Mended(mended.to_fetch_nbytes, mended.n_ranges, mended.check, kept)


def _complete(
    work: Work, copy: KeptOutput, original: Original, bad: Sequence[Piece]
) -> Mended:
    """Make the copy whole and durable."""
    lacking = fill_from_damaged(work, copy, original, bad)
    if original.header:
        copy.write_at(0, original.header)
    lacking = _without_header(lacking, original)
    if lacking and work.options.full and work.source.takes_whole:
        lacking = original.pieces
    to_fetch = work.tally.nbytes + nbytes_of(lacking)
    if lacking:
        _fetch(work, copy, original, lacking)
    copy.sync()
    if original.has_unknown_header:
        _require_header(work, copy, original)
    check = work.check(copy, original)
    if not check.is_whole:
        copy.abort()
        raise still_wrong(work.source.label, original, check)
    return Mended(to_fetch, len(join(lacking)), check)


def _fetch(
    work: Work, copy: KeptOutput, original: Original, lacking: Sequence[Piece]
) -> None:
    with work.progress.stage("fetch", nbytes_of(lacking)) as advance:

        def arrived(nbytes: int) -> None:
            work.tally.add(nbytes)
            advance(nbytes)

        fetch_pieces(work.source, lacking, copy, original, advance=arrived)


def _require_header(work: Work, copy: KeptOutput, original: Original) -> None:
    """Refuse a header that arrived unknown and is not about the tensors behind it."""
    raw = b"".join(map(bytes, blocks(copy, 0, original.pieces[0].end)))
    try:
        require_header(raw, original, work.source)
    except IntegrityError:
        copy.abort()
        raise


def _without_header(pieces: Sequence[Piece], original: Original) -> tuple[Piece, ...]:
    """Return the pieces that are not at hand with the header."""
    begin = len(original.header)
    return tuple(piece for piece in pieces if piece.begin >= begin)


def still_wrong(what: str, original: Original, check: Check) -> IntegrityError:
    """Return the error for bytes that agree in parts and not as a whole."""
    if not check.expected:
        reason, hint = "what was written does not read back", "use another disk"
    else:
        reason = (
            f"its parts agree with {original.told_by}, but its {check.how} is "
            f"{check.got}, expected {check.expected}"
        )
        hint = "get the manifest that tells the parts again, or pass --full"
    return IntegrityError(
        f"{what}: {reason}; the file is as it was", code="repaired-bytes", hint=hint
    )
