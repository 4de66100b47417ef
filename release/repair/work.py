"""What every step of one repair needs."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from release.formats.input import InputFile
from release.formats.scan import Source
from release.progress import Progress
from release.repair.damage import Check, check_whole, find_damage
from release.repair.pieces import Original, Piece, nbytes_of
from release.repair.report import RepairOptions
from release.repair.source import RangeSource


@dataclass(slots=True)
class Tally:
    """What was fetched so far."""

    nbytes: int = 0

    def add(self, nbytes: int) -> None:
        """Count bytes that arrived."""
        self.nbytes += nbytes


@dataclass(frozen=True, slots=True)
class Work:
    """One repair.

    Attributes:
        file: The damaged file; never written.
        source: Where whole bytes come from.
        options: What is wanted.
        threads: Worker threads.
        progress: Where the stages are shown.
        tally: What was fetched so far.
    """

    file: InputFile
    source: RangeSource
    options: RepairOptions
    threads: int
    progress: Progress
    tally: Tally = field(default_factory=Tally)

    def damage_in(
        self, source: Source, nbytes: int, pieces: Sequence[Piece], *, label: str
    ) -> tuple[Piece, ...]:
        """Return those of `pieces` that a file of `nbytes` bytes does not hold.

        Raises:
            InputError: The file changed meanwhile.
        """
        with self.progress.stage(label, nbytes_of(pieces)) as advance:
            return find_damage(
                source, nbytes, pieces, threads=self.threads, advance=advance
            )

    def check(self, source: Source, original: Original) -> Check:
        """Compare a file of the right size with the original as a whole.

        Raises:
            InputError: An input changed or cannot be read.
            WriteError: An output cannot be read back.
        """
        with self.progress.stage("check the whole file", original.nbytes) as advance:
            return check_whole(source, original, threads=self.threads, advance=advance)
