"""The one question: is this what it says it is?

Files are read once. Two levels: xxh3 of every tensor and of the header, which finds
accidents and names the damaged tensors; and SHA-256 beside it, which is identity. In
which order sources are asked what a file should be: `release.verify.wants`.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from release.claims.claim import Claim
from release.progress import Progress
from release.verify.batch import Batch
from release.verify.report import FileVerdict, Level, VerifyReport
from release.verify.subjects import Subject, Subjects, find_subjects


def verify(
    path: Path | Sequence[Path],
    *,
    level: Level,
    threads: int,
    progress: Progress,
    against: Sequence[Claim] = (),
    values: bool = False,
) -> VerifyReport:
    """Check files and folders against what is said of them.

    One file that cannot be read does not stop the others; it is "unreadable" then.

    Args:
        path: A file, a folder or a .zip archive, or several.
        level: "sha256" checks identity as well, at SHA-256's speed.
        threads: Worker threads for everything together.
        progress: Where the stage is shown, in bytes.
        against: What the user says that the files are; nobody else is asked then.
        values: Look at the values of all tensors, those that krelease wrote, too.

    Raises:
        InputError: Nothing is there, or a folder without anything to verify.
        CheckpointError: The only file cannot be read and nobody knows what it was.
        IntegrityError: A manifest or sums file is not valid, or the only file is an
            archive that cannot be trusted.
    """
    paths = (path,) if isinstance(path, Path) else tuple(path)
    found = find_subjects(paths, against)
    nbytes = sum(map(_nbytes, (*found.files, *found.archives)))
    with progress.stage("verify", nbytes) as advance:
        batch = Batch(level, values, threads, advance, cache(_catalog))
        files = batch.verify(found.files)
        for archive in found.archives:
            from release.verify.zipped import verify_members

            files += verify_members(archive, batch)
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


def _catalog() -> tuple[Claim, ...]:
    from release.claims.catalog import catalog_claims  # pydantic, and the recipes

    return catalog_claims()


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
