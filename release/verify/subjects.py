"""What is to be verified: the files that the user's paths lead to."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from release.claims.beside import folder_claims, record_claims
from release.claims.claim import Claim, source_of_file
from release.errors import CheckpointError, InputError
from release.formats.folder_layout import list_folder
from release.formats.input import InputFile
from release.formats.limits import FOLDER_ENTRIES_MAX
from release.formats.sharded import is_index_name, is_shard_name, shard_paths
from release.metadata import MANIFEST_NAME
from release.verify.compare import claims_by_name

SUFFIX: Final = ".safetensors"
_DIGESTS: Final = frozenset({"autov2", "sha256"})
"""Sources that are about one file, whatever its name."""

Beside = Callable[[Path], tuple[Claim, ...]]
"""Folder -> what lies in it says; each folder is asked once."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A file that is to be verified.

    Attributes:
        path: Where it lies.
        name: What the report calls it.
        claims: What the user named, or else what lies beside it; not its header.
        error: Why it is not even opened.
    """

    path: Path
    name: str
    claims: tuple[Claim, ...]
    error: CheckpointError | None = None


@dataclass(slots=True)
class Subjects:
    """All of them, and what is not there.

    Attributes:
        files: The files, in the order of the user's paths.
        archives: Archives whose members are verified, since nobody names them.
        missing: Claims about files that a list names and that are not there, with the
            path where each should be. A file under another name may be one of them.
        extra: Names in a release folder that its manifest does not name.
        absent: Files of a Hub's repository that the folder does not have.
    """

    files: list[Subject] = field(default_factory=list)
    archives: list[Subject] = field(default_factory=list)
    missing: list[tuple[Path, Claim | None]] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)


def find_subjects(paths: Sequence[Path], named: Sequence[Claim]) -> Subjects:
    """Find the files that are to be verified.

    A folder with a manifest.json is a release, of which every file is one. In another
    folder every safetensors file is, and every file that a list names, in folders below
    as well. Symlinks are followed where the user named them, and refused inside.

    Args:
        paths: Files and folders.
        named: Claims of the source that the user named.

    Raises:
        InputError: `no-manifest`, a folder in which there is nothing to verify; or the
            only path leads to no regular file.
        CheckpointError: A folder is too large, or a shard index is not one.
        IntegrityError: What lies beside a file is not what its name promises.
    """
    found = Subjects()
    beside = cache(folder_claims)
    for path in paths:
        if path.is_dir():
            _add_folder(found, path, tuple(named), beside)
        else:
            if len(paths) == 1:
                InputFile(path).close()  # nothing else could be said in a report
            claims = tuple(named) or (*beside(path.parent), *record_claims(path))
            name = path.name if len(paths) == 1 else str(path)
            subject = Subject(path, name, claims)
            as_members = path.suffix.lower() == ".zip" and _is_of_members(subject)
            (found.archives if as_members else found.files).append(subject)
    return found


def _is_of_members(archive: Subject) -> bool:
    """Return whether an archive's members are meant, as nobody speaks of itself."""
    is_digest = any(each.source.kind in _DIGESTS for each in archive.claims)
    return not is_digest and not claims_by_name(archive.path, archive.claims)


def _add_folder(
    found: Subjects, folder: Path, named: tuple[Claim, ...], beside: Beside
) -> None:
    before = len(found.files) + len(found.missing)
    manifest = folder / MANIFEST_NAME
    if not named and manifest.is_file() and not manifest.is_symlink():
        _add_release(found, folder, manifest)
    else:
        _add_listed(found, folder, named, beside)
    if len(found.files) + len(found.missing) == before:
        raise InputError(
            folder,
            f"has no {MANIFEST_NAME} and no {SUFFIX} file",
            code="no-manifest",
            hint="name a release folder, or safetensors files",
        )


def _add_release(found: Subjects, folder: Path, manifest: Path) -> None:
    """Add the files of a release folder, each of them as its manifest names it."""
    from release.claims.manifest import read_manifest_claims  # pydantic

    source = source_of_file("manifest beside", manifest)
    claims = read_manifest_claims(manifest, source)
    _add_claimed(found, folder, claims, claims)
    known = {MANIFEST_NAME, *(claim.name for claim in claims)}
    extra = [name for name in list_folder(folder) if name not in known]
    lost = [claim for _, claim in found.missing if claim is not None]
    for name in extra:
        path = folder / name
        if path.is_file() and not path.is_symlink() and _may_be(path, lost):
            found.files.append(Subject(path, name, claims))
        else:
            found.extra.append(name)


def _may_be(path: Path, lost: Sequence[Claim]) -> bool:
    """Return whether a file may be one of those that are missing under its name."""
    nbytes = path.stat().st_size
    return any(nbytes == claim.nbytes for claim in lost) or (
        path.suffix == SUFFIX and any(claim.tensors for claim in lost)
    )


def _add_claimed(
    found: Subjects,
    folder: Path,
    listed: Sequence[Claim],
    claims: tuple[Claim, ...],
) -> None:
    for claim in listed:
        if claim.name is None:
            continue
        path = folder / claim.name
        link = _link_in(folder, claim.name)
        if link is not None:
            found.files.append(Subject(path, claim.name, claims, _refused(link)))
        elif path.is_file():
            found.files.append(Subject(path, claim.name, claims))
        elif claim.source.kind == "hub":
            found.absent.append(claim.name)
        else:
            found.missing.append((path, claim))


def _add_listed(
    found: Subjects, folder: Path, named: tuple[Claim, ...], beside: Beside
) -> None:
    """Add what lists name and every safetensors file of a folder without a manifest."""
    listed = named or beside(folder)
    begin = len(found.files)
    unique = {claim.name: claim for claim in listed}
    _add_claimed(found, folder, tuple(unique.values()), listed)
    known = {subject.path for subject in found.files[begin:]}
    missing = {path for path, _ in found.missing}
    for path in _walk(folder):
        if path in known:
            continue
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            if path.suffix == SUFFIX or path.is_dir():
                found.files.append(Subject(path, name, (), _refused(path)))
        elif is_index_name(path.name):
            _add_missing_shards(found, path, missing)
        elif path.suffix == SUFFIX:
            if is_shard_name(path.name):
                _add_missing_shards(found, path, missing)
            nearer = () if path.parent == folder else beside(path.parent)
            claims = named or (*nearer, *listed, *record_claims(path))
            found.files.append(Subject(path, name, claims))


def _add_missing_shards(found: Subjects, path: Path, missing: set[Path]) -> None:
    """Add the shards that are not there, and are not among `missing` yet."""
    for shard in shard_paths(path):
        if shard not in missing and not shard.exists():
            found.missing.append((shard, None))
            missing.add(shard)


def _walk(folder: Path) -> Iterator[Path]:
    """Yield files and symlinks below a folder in order, hidden ones passed over."""
    budget = FOLDER_ENTRIES_MAX
    folders = [folder]
    while folders:
        current = folders.pop()
        names = list_folder(current)
        budget -= len(names)
        if budget < 0:
            raise CheckpointError(
                folder,
                f"holds more than {FOLDER_ENTRIES_MAX:,} files and folders",
                code="folder-size",
                hint="name the folders inside it one by one",
            )
        paths = [current / name for name in names if not name.startswith(".")]
        kinds = [(path, path.is_dir() and not path.is_symlink()) for path in paths]
        folders += [path for path, is_folder in reversed(kinds) if is_folder]
        yield from (path for path, is_folder in kinds if not is_folder)


def _link_in(folder: Path, name: str) -> Path | None:
    """Return the first symlink on the way from a folder to a file in it."""
    path = folder
    for part in name.split("/"):
        path /= part
        if path.is_symlink():
            return path
    return None


def _refused(path: Path) -> InputError:
    return InputError(
        path,
        "is a symlink inside a folder, which is not followed",
        code="symlink",
        hint="name the file itself: then a symlink is followed",
    )
