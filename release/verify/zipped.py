"""The members of a .zip archive, verified in place."""

from typing import Final

from release.claims.claim import Source
from release.errors import CheckpointError, IntegrityError, ReleaseError
from release.verify.archive import ArchiveMember, open_archive
from release.verify.batch import Batch, unreadable
from release.verify.compare import claims_by_name
from release.verify.report import FileVerdict
from release.verify.subjects import SUFFIX, Subject
from release.verify.trust import Reached

_CRC: Final = Reached(Source("archive", "the archive's own directory"), "crc32")


def verify_members(archive: Subject, batch: Batch) -> list[FileVerdict]:
    """Return the answers about the files in an archive.

    A checkpoint is one as if it lay beside the archive. Of other files, and of
    checkpoints without digests, the archive's CRC-32 is compared.

    Args:
        archive: The archive, and what is said of files in its folder.
        batch: How its members are verified.
    """
    try:
        with open_archive(archive.path) as opened:
            files = [_verify(archive, member, batch) for member in opened.members]
            opened.check_unchanged()
    except (CheckpointError, IntegrityError) as error:
        return [unreadable(archive.name, archive.path, error)]
    if not files:
        detail = "is an archive that holds no files"
        nbytes = opened.nbytes
        return [FileVerdict(archive.name, "unknown", detail, nbytes, archive.path)]
    return files


def _verify(archive: Subject, member: ArchiveMember, batch: Batch) -> FileVerdict:
    path = archive.path / member.name
    subject = Subject(path, f"{archive.name}/{member.name}", archive.claims)
    is_named = bool(claims_by_name(path, archive.claims))
    is_checkpoint = member.name.endswith(SUFFIX)
    if not is_named and not is_checkpoint:
        return _by_checksum(subject, member, batch)
    try:
        found = batch.verify_open(subject, member.open())
    except ReleaseError as error:
        found = unreadable(subject.name, path, error)
    if found.verdict == "unknown" or (found.error and not member.is_stored):
        return _by_checksum(subject, member, batch)
    return found


def _by_checksum(subject: Subject, member: ArchiveMember, batch: Batch) -> FileVerdict:
    try:
        member.scan(advance=batch.advance)
    except IntegrityError as error:
        return FileVerdict(
            subject.name,
            "damaged",
            str(error),
            member.nbytes,
            subject.path,
            reached=_CRC,
        )
    except CheckpointError as error:
        return unreadable(subject.name, subject.path, error)
    is_identity = batch.level == "sha256"
    detail = "has the CRC-32 that the archive states"
    if is_identity:
        detail += ", but nobody says what its SHA-256 is"
    return FileVerdict(
        subject.name,
        "unknown" if is_identity else "intact",
        detail,
        member.nbytes,
        subject.path,
        reached=_CRC,
    )
