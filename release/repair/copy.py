"""The copy that is repaired, while the damaged file stays as it is."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from release.formats.input import InputFile
from release.formats.kept_output import KeptOutput
from release.formats.scan import blocks
from release.progress import Advance
from release.repair.pieces import Original, Piece, nbytes_of
from release.repair.work import Work

_SUFFIX: Final = ".repair"


def copy_path(path: Path) -> Path:
    """Return where the copy of `path` lies until it takes the file's place."""
    return path.with_name(f".{path.name}{_SUFFIX}")


def fill_from_damaged(
    work: Work, copy: KeptOutput, original: Original, bad: Iterable[Piece]
) -> tuple[Piece, ...]:
    """Give the copy its size and every piece that is whole in the damaged file.

    With `full`, nothing is taken from the damaged file.

    Args:
        work: The repair.
        copy: New, or as an earlier run left it: its own digests say what it holds.
        original: What the copy must become.
        bad: Pieces that the damaged file does not hold.

    Returns:
        The pieces that the copy still lacks, in order.

    Raises:
        InputError: The damaged file changed or cannot be read.
        OutputError: The copy cannot be written.
    """
    is_new, takes_none = copy.nbytes == 0, work.options.full
    is_clone = is_new and not takes_none and copy.clone(work.file)
    copy.resize(original.nbytes)
    if is_clone:
        return tuple(bad)
    lacking = original.pieces
    if not is_new:
        lacking = work.damage_in(
            copy, copy.nbytes, lacking, label="look at an earlier repair"
        )
    if takes_none:
        return lacking
    damaged = frozenset(bad)
    present = [piece for piece in lacking if piece not in damaged]
    if present:
        with work.progress.stage("copy what is whole", nbytes_of(present)) as advance:
            for piece in present:
                _copy(work.file, copy, piece, advance)
    return tuple(piece for piece in lacking if piece in damaged)


def _copy(file: InputFile, copy: KeptOutput, piece: Piece, advance: Advance) -> None:
    position = piece.begin
    for block in blocks(file, piece.begin, piece.end):
        copy.write_at(position, block)
        position += len(block)
        advance(len(block))
