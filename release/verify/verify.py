"""The one question: is this what it says it is?

Files are read once. Two levels: xxh3 of every tensor and of the header, which finds
accidents and names the damaged tensors; and SHA-256 beside it, which is identity. Who
is asked what a file should be is `release.claims.gather`'s order.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Final

from release.claims.carried import read_carried_claim
from release.claims.claim import Claim
from release.errors import CheckpointError
from release.progress import Advance, Progress
from release.verify.compare import claims_by_name
from release.verify.examine import Examination, read_all
from release.verify.judge import Case, judge
from release.verify.report import FileVerdict, Level, VerifyReport
from release.verify.subjects import SUFFIX, Subject, Subjects, find_subjects
from release.verify.wants import in_order, wants_of

_OPEN_MAX: Final = 64
"""Files that are open at once."""


def verify(
    path: Path | Sequence[Path],
    *,
    level: Level,
    threads: int,
    progress: Progress,
    against: Sequence[Claim] = (),
) -> VerifyReport:
    """Check files and folders against what is said of them.

    One file that cannot be read does not stop the others; it is "unreadable" then.

    Args:
        path: A file or a folder, or several.
        level: "sha256" checks identity as well, at SHA-256's speed.
        threads: Worker threads for everything together.
        progress: Where the stage is shown, in bytes.
        against: What the user says that the files are; nobody else is asked then.

    Raises:
        InputError: Nothing is there, or a folder without anything to verify.
        CheckpointError: The only file cannot be read and nobody knows what it was.
        IntegrityError: A manifest or sums file is not valid.
    """
    paths = (path,) if isinstance(path, Path) else tuple(path)
    found = find_subjects(paths, against)
    with progress.stage("verify", sum(map(_nbytes, found.files))) as advance:
        files = _verify_all(found.files, level, threads, advance)
    if len(files) == 1 and files[0].error is not None and not paths[0].is_dir():
        raise files[0].error
    files += _missing(found, files)
    releases = {file.release for file in files}
    return VerifyReport(
        paths=paths,
        level=level,
        release=releases.pop() if len(releases) == 1 else None,
        rehearsal=any(file.is_stand_in for file in files),
        files=tuple(files),
        extra=tuple(found.extra),
        absent=tuple(found.absent),
    )


def _nbytes(subject: Subject) -> int:
    try:
        return 0 if subject.error else subject.path.stat().st_size
    except OSError:
        return 0


def _verify_all(
    subjects: Sequence[Subject], level: Level, threads: int, advance: Advance
) -> list[FileVerdict]:
    catalog = cache(_catalog)
    files: list[FileVerdict] = []
    for begin in range(0, len(subjects), _OPEN_MAX):
        with ExitStack() as stack:
            opened = [
                _open(subject, level, catalog, stack)
                for subject in subjects[begin : begin + _OPEN_MAX]
            ]
            cases = [each for each in opened if isinstance(each, Case)]
            work = [(case.examined, case.wants) for case in cases]
            read_all(work, threads=threads, advance=advance)
            files += [_judged(each) for each in opened]
    return files


def _catalog() -> tuple[Claim, ...]:
    from release.claims.catalog import catalog_claims  # pydantic, and the recipes

    return catalog_claims()


def _open(
    subject: Subject,
    level: Level,
    catalog: Callable[[], Sequence[Claim]],
    stack: ExitStack,
) -> Case | FileVerdict:
    """Return the file opened, with what is said of it and what must be read."""
    if subject.error is not None:
        return _unreadable(subject, subject.error)
    named = claims_by_name(subject.path, subject.claims)
    is_checkpoint = subject.path.suffix == SUFFIX or not named
    is_checkpoint |= any(claim.tensors for claim in named)
    try:
        examined = Examination(subject.path, is_checkpoint=is_checkpoint)
    except CheckpointError as error:
        return _unreadable(subject, error)
    stack.enter_context(examined)
    own = None if examined.header is None else read_carried_claim(examined.header)
    groups = [list(group) for _, group in groupby(subject.claims, lambda c: c.source)]
    if own is not None and not any(claim.source.is_named for claim in subject.claims):
        groups.append([own])
    ordered = in_order(subject.path, groups, level=level)
    return Case(
        name=subject.name,
        examined=examined,
        groups=ordered,
        own=own,
        catalog=catalog,
        level=level,
        wants=wants_of(examined, ordered, level=level),
    )


def _judged(each: Case | FileVerdict) -> FileVerdict:
    if isinstance(each, FileVerdict):
        return each
    try:
        if each.examined.failure is not None:
            raise each.examined.failure
        return judge(each)
    except CheckpointError as error:
        subject = Subject(each.examined.path, each.name, ())
        return replace(_unreadable(subject, error), nbytes=each.examined.nbytes)


def _unreadable(subject: Subject, error: CheckpointError) -> FileVerdict:
    return FileVerdict(
        subject.name, "unreadable", error.reason, 0, subject.path, error=error
    )


def _missing(found: Subjects, files: Sequence[FileVerdict]) -> list[FileVerdict]:
    """Return what is not there, but for files that are there under another name."""
    known = {file.known_as for file in files}
    return [
        FileVerdict(
            path.name if claim is None or claim.name is None else claim.name,
            "missing",
            "is not there",
            0,
            path,
            variant=claim.variant if claim else None,
            release=claim.release if claim else None,
        )
        for path, claim in found.missing
        if claim is None or claim.name not in known
    ]
