"""Files opened, read together on all cores, and judged one by one."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Final

from release.claims.carried import read_carried_claim
from release.claims.claim import Claim
from release.errors import CheckpointError, ReleaseError, visible
from release.formats.input import InputFile
from release.progress import Advance
from release.verify.compare import claims_by_name
from release.verify.examine import Examination, read_all
from release.verify.judge import Case, judge
from release.verify.report import FileVerdict, Level
from release.verify.subjects import SUFFIX, Subject
from release.verify.wants import in_order, wants_of

_OPEN_MAX: Final = 64
"""Files that are open at once."""


@dataclass(frozen=True, slots=True)
class Batch:
    """How files are verified.

    Attributes:
        level: What the user wants to know.
        values: Look at the values of every tensor.
        threads: Worker threads for all files together.
        advance: Called with bytes read.
        catalog: Asked about files that nobody else knows.
    """

    level: Level
    values: bool
    threads: int
    advance: Advance
    catalog: Callable[[], Sequence[Claim]]

    def verify(self, subjects: Sequence[Subject]) -> list[FileVerdict]:
        """Return the answers about files, in their order."""
        files: list[FileVerdict] = []
        for begin in range(0, len(subjects), _OPEN_MAX):
            with ExitStack() as stack:
                opened = [
                    self._opened(subject, stack)
                    for subject in subjects[begin : begin + _OPEN_MAX]
                ]
                cases = [each for each in opened if isinstance(each, Case)]
                work = [(case.examined, case.wants) for case in cases]
                read_all(work, threads=self.threads, advance=self.advance)
                files += [_judged(each) for each in opened]
        return files

    def verify_open(self, subject: Subject, file: InputFile) -> FileVerdict:
        """Return the answer about a file that is open; it is closed at the end."""
        with ExitStack() as stack:
            case = self._opened(subject, stack, file)
            if isinstance(case, Case):
                work = [(case.examined, case.wants)]
                read_all(work, threads=self.threads, advance=self.advance)
            return _judged(case)

    def _opened(
        self, subject: Subject, stack: ExitStack, file: InputFile | None = None
    ) -> Case | FileVerdict:
        """Return a file opened, with what is said of it and what must be read."""
        if subject.error is not None:
            return unreadable(subject.name, subject.path, subject.error)
        named = claims_by_name(subject.path, subject.claims)
        is_checkpoint = subject.path.suffix == SUFFIX or not named
        is_checkpoint |= any(claim.tensors for claim in named)
        try:
            examined = Examination(file or subject.path, is_checkpoint=is_checkpoint)
        except CheckpointError as error:
            return unreadable(subject.name, subject.path, error)
        stack.enter_context(examined)
        own = None if examined.header is None else read_carried_claim(examined.header)
        groups = [list(each) for _, each in groupby(subject.claims, lambda c: c.source)]
        if own is not None and not any(each.source.is_named for each in subject.claims):
            groups.append([own])
        ordered = in_order(subject.path, groups, level=self.level)
        wants = wants_of(examined, ordered, level=self.level, values=self.values)
        return Case(
            name=subject.name,
            examined=examined,
            groups=ordered,
            own=own,
            catalog=self.catalog,
            level=self.level,
            wants=wants,
        )


def _judged(each: Case | FileVerdict) -> FileVerdict:
    if isinstance(each, FileVerdict):
        return each
    try:
        if each.examined.failure is not None:
            raise each.examined.failure
        return judge(each)
    except CheckpointError as error:
        found = unreadable(each.name, each.examined.path, error)
        return replace(found, nbytes=each.examined.nbytes)


def unreadable(name: str, path: Path, error: ReleaseError) -> FileVerdict:
    """Return the answer about a file that cannot be read."""
    detail = str(error).removeprefix(f"{visible(path, 1024)}: ")
    if isinstance(error, CheckpointError):
        detail = error.reason
    return FileVerdict(name, "unreadable", detail, 0, path, error=error)
