"""Where a file is damaged: tensors, their parts of the model, ranges of bytes."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from release.architecture.contents import part_of
from release.claims.claim import Claim
from release.formats.input import InputFile
from release.formats.scan import scan
from release.numeric.digest import CHUNK_NBYTES, Xxh3Bits64Chunks
from release.numeric.size import size_text

Range = tuple[int, int]
"""First byte, and the byte after the last one."""


@dataclass(frozen=True, slots=True)
class DamagedTensor:
    """A tensor whose bytes are not those that they should be.

    Attributes:
        name: Its name.
        part: The part of the model that it belongs to.
        begin: Its first byte in the file.
        end: The byte after its last one.
    """

    name: str
    part: str
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Damage:
    """Where a file is damaged.

    Attributes:
        has_header: Whether the header is.
        tensors: Those that are, in the order of the file.
        ranges: What must be replaced, in order and apart from each other.
        by_chunk: Whether `ranges` are chunks of 1 MiB, not whole tensors.
        file_nbytes: Bytes of the file as it should be.
    """

    has_header: bool
    tensors: tuple[DamagedTensor, ...]
    ranges: tuple[Range, ...]
    by_chunk: bool
    file_nbytes: int

    @property
    def nbytes(self) -> int:
        """Bytes of all ranges."""
        return sum(end - begin for begin, end in self.ranges)

    @property
    def parts(self) -> dict[str, int]:
        """Part of the model -> how many of its tensors are damaged."""
        return dict(Counter(each.part for each in self.tensors))

    @property
    def extent(self) -> str:
        """How much of the file it is, in words."""
        percent = 100 * self.nbytes / max(self.file_nbytes, 1)
        share = f"{percent:.2g} %" if percent < 10 else f"{percent:.0f} %"
        if self.nbytes < self.file_nbytes and share == "100 %":
            share = "99.9 %"
        return f"{size_text(self.nbytes)} of {size_text(self.file_nbytes)} ({share})"


@dataclass(frozen=True, slots=True)
class Whole:
    """What there is of a file that was cut.

    Attributes:
        nbytes: Bytes that are there.
        file_nbytes: Bytes that should be.
        n_whole: Tensors that are there and, where digests are known, equal them.
        n_tensors: Tensors that should be.
        cut: The tensor inside which the file ends; None if it ends between two, or in
            the header.
        is_compared: Whether the tensors that are there were compared with digests.
    """

    nbytes: int
    file_nbytes: int
    n_whole: int
    n_tensors: int
    cut: str | None
    is_compared: bool


def damage_of(
    names: Iterable[str], claim: Claim, *, has_header: bool, file: InputFile | None
) -> Damage:
    """Return the damage to tensors that lie where `claim` says.

    Args:
        names: The damaged tensors.
        claim: Knows the places.
        has_header: Whether the header is damaged too.
        file: Where chunks may be compared: the file, if it has the claim's size and
            geometry. Only chunks that touch what is damaged are read.
    """
    wanted = set(names)
    tensors = tuple(
        DamagedTensor(
            each.name, part_of(each.name).value, each.offset, each.offset + each.nbytes
        )
        for each in claim.tensors
        if each.name in wanted
    )
    ranges: list[Range] = [(each.begin, each.end) for each in tensors]
    if has_header and claim.header_nbytes:
        ranges.append((0, claim.header_nbytes))
    merged = _merged(ranges)
    chunked = None if file is None else _bad_chunks(merged, claim, file)
    return Damage(
        has_header=has_header,
        tensors=tensors,
        ranges=merged if chunked is None else chunked,
        by_chunk=chunked is not None,
        file_nbytes=claim.nbytes or 0,
    )


def _bad_chunks(
    ranges: Sequence[Range], claim: Claim, file: InputFile
) -> tuple[Range, ...] | None:
    """Return the chunks of `ranges` that differ from the claim's; None if unknown."""
    if not claim.chunks or claim.nbytes != file.nbytes:
        return None
    numbers = {
        number
        for begin, end in ranges
        for number in range(begin // CHUNK_NBYTES, -(-end // CHUNK_NBYTES))
    }
    bad: list[Range] = []
    for number in sorted(numbers):
        begin = number * CHUNK_NBYTES
        end = min(begin + CHUNK_NBYTES, file.nbytes)
        digest = Xxh3Bits64Chunks()
        scan(file, begin, end, digest)
        if digest.hexdigests() != (claim.chunks[number],):
            bad.append((begin, end))
    return _merged(bad) if bad else None


def _merged(ranges: Iterable[Range]) -> tuple[Range, ...]:
    merged: list[Range] = []
    for begin, end in sorted(ranges):
        if begin == end:
            continue
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return tuple(merged)
