"""The copy that is repaired, while the damaged file stays as it is."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from release.formats.input import InputFile
from release.formats.kept_output import KeptOutput
from release.formats.scan import blocks
from release.progress import Progress
from release.repair.damage import find_damage
from release.repair.pieces import Original, Piece, nbytes_of

_SUFFIX: Final = ".repair"


def copy_path(path: Path) -> Path:
    """Return where the copy of `path` lies until it takes the file's place."""
    return path.with_name(f".{path.name}{_SUFFIX}")


def fill_from_damaged(
    copy: KeptOutput,
    file: InputFile,
    original: Original,
    bad: Iterable[Piece],
    *,
    trusts_file: bool,
    threads: int,
    progress: Progress,
) -> tuple[Piece, ...]:
    """Give the copy its size and every piece that is whole in the damaged file.

    Args:
        copy: New, or as an earlier run left it: its own digests say what it holds.
        file: The damaged file.
        original: What the copy must become.
        bad: Pieces that the damaged file does not hold.
        trusts_file: Whether pieces may be taken from the file at all.
        threads: Worker threads.
        progress: Where the stages are shown.

    Returns:
        The pieces that the copy still lacks, in order.

    Raises:
        InputError: The damaged file changed or cannot be read.
        OutputError: The copy cannot be written.
    """
    is_new = copy.nbytes == 0
    is_clone = is_new and trusts_file and copy.clone(file)
    copy.resize(original.nbytes)
    if is_clone:
        return tuple(bad)
    lacking = original.pieces
    if not is_new:
        with progress.stage("look at what an earlier run fetched", copy.nbytes) as done:
            lacking = find_damage(
                copy, copy.nbytes, lacking, threads=threads, advance=done
            )
    if not trusts_file:
        return lacking
    damaged = frozenset(bad)
    _copy(file, copy, [each for each in lacking if each not in damaged], progress)
    return tuple(piece for piece in lacking if piece in damaged)


def _copy(
    file: InputFile, copy: KeptOutput, pieces: list[Piece], progress: Progress
) -> None:
    with progress.stage("copy what is whole", nbytes_of(pieces)) as advance:
        for piece in pieces:
            position = piece.begin
            for block in blocks(file, piece.begin, piece.end):
                copy.write_at(position, block)
                position += len(block)
                advance(len(block))
