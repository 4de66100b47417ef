"""Reading what is linted from a folder: the card, and the files beside it."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

from release.errors import (
    CheckpointError,
    InputError,
    IntegrityError,
    ReleaseError,
)
from release.formats.input import InputFile
from release.formats.limits import FOLDER_ENTRIES_MAX
from release.formats.open import open_safetensors
from release.formats.refused import RefusedError
from release.formats.scan import scan
from release.formats.unzip.end import find_directory
from release.formats.unzip.entries import read_entries
from release.formats.unzip.source import Source
from release.lint.card import CARD_NBYTES_MAX, Card, parse_card
from release.lint.rules.digests import HASH_KEY, digest_claims
from release.lint.subject import (
    FileFacts,
    Subject,
    weights_of,
)
from release.manifest import CARD_NAME, Manifest, read_manifest
from release.metadata import LICENCE_NAMES, MANIFEST_NAME
from release.numeric.digest import Sha256
from release.progress import Advance, Progress

_LICENCE_NBYTES_MAX: Final = 1024 * 1024
_DIRECTORY_NBYTES_MAX: Final = 1024 * 1024
_SKIPPED: Final = frozenset({".git", ".cache", "__pycache__", "node_modules"})
_TELLING: Final = (MANIFEST_NAME, "model_index.json", *LICENCE_NAMES)


def card_path(path: Path) -> Path:
    """Return the card that a folder or a file stands for."""
    return path / CARD_NAME if path.is_dir() else path


def read_subject(
    path: Path,
    *,
    threads: int,
    progress: Progress,
    manifest: Manifest | None = None,
) -> Subject:
    """Return the card at `path` and the facts of the files beside it.

    Headers are read; files are hashed only where card or header state a digest that no
    manifest knows. Beside a card that is named itself, files count only if there are
    weights, a licence or a manifest among them.

    Args:
        path: A folder with a README.md, or a card.
        threads: Files that are hashed at once.
        progress: Where hashing is shown.
        manifest: Of the release in the folder, where it is not written yet.

    Raises:
        InputError: There is no card, or the folder holds too many files.
    """
    card_file = card_path(path)
    card = _read_card(card_file)
    folder = card_file.parent
    sizes = _sizes(folder, must_fit=path.is_dir())
    if sizes is None or not (path.is_dir() or _tells(sizes)):
        return Subject(card, card_file.name)
    manifest = manifest or _manifest(folder, sizes)
    files = {name: _facts(folder, name, n) for name, n in sizes.items()}
    if manifest is not None:
        files = _with_records(files, manifest)
    subject = Subject(
        card,
        card_file.name,
        files=files,
        licence_file=_licence_file(folder, sizes),
        manifest=manifest,
    )
    return _with_digests(subject, folder, threads=threads, progress=progress)


def _read_card(path: Path) -> Card:
    with InputFile(path) as file:
        return parse_card(file.read(0, min(file.nbytes, CARD_NBYTES_MAX + 1)))


def _sizes(folder: Path, *, must_fit: bool) -> dict[str, int] | None:
    """Return the files below a folder by name; None if they are too many."""
    found: dict[str, int] = {}
    for name, nbytes in _walk(folder):
        found[name] = nbytes
        if len(found) > FOLDER_ENTRIES_MAX:
            if not must_fit:
                return None
            raise InputError(
                folder,
                f"holds over {FOLDER_ENTRIES_MAX:,} files",
                code="too-many-files",
                hint="name the folder of one model",
            )
    return found


def _walk(folder: Path) -> Iterator[tuple[str, int]]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - _SKIPPED)
        for name in sorted(names):
            path = Path(place, name)
            if path.is_file():
                yield path.relative_to(folder).as_posix(), path.stat().st_size


def _tells(sizes: dict[str, int]) -> bool:
    """Whether the files beside a card are those of a model."""
    return any(
        "/" not in name and (name in _TELLING or FileFacts(name, 0).is_weights)
        for name in sizes
    )


def _manifest(folder: Path, sizes: dict[str, int]) -> Manifest | None:
    """Return the release's manifest; None for none, and for a file of another tool."""
    if MANIFEST_NAME not in sizes:
        return None
    try:
        return read_manifest(folder / MANIFEST_NAME)
    except IntegrityError:
        return None


def _facts(folder: Path, name: str, nbytes: int) -> FileFacts:
    """Return what a file is; a header that cannot be read is for `krelease verify`."""
    if name.lower().endswith(".zip"):
        return FileFacts(name, nbytes, members=_members(folder / name))
    if not name.lower().endswith(".safetensors"):
        return FileFacts(name, nbytes)
    try:
        with open_safetensors(folder / name) as checkpoint:
            weights = weights_of(checkpoint.tensors, checkpoint.metadata)
    except CheckpointError:
        return FileFacts(name, nbytes)
    return FileFacts(name, nbytes, weights=weights)


def _members(path: Path) -> tuple[str, ...]:
    """Return the names inside of a zip; none of what is no zip, or lists too much."""
    try:
        with InputFile(path) as file:
            source = Source(file.fileno())
            directory = find_directory(source)
            if directory.nbytes > _DIRECTORY_NBYTES_MAX:
                return ()
            return tuple(entry.name for entry in read_entries(source, directory))
    except (ReleaseError, RefusedError):
        return ()


def _with_records(
    files: dict[str, FileFacts], manifest: Manifest
) -> dict[str, FileFacts]:
    """Return the facts with the digests that the manifest knows."""
    found = dict(files)
    for record in manifest.checkpoints:
        file = found.get(record.name)
        if file is not None and file.nbytes == record.nbytes:
            found[record.name] = replace(
                file, sha256=record.sha256, data_sha256=record.data_sha256
            )
    for other in manifest.files:
        file = found.get(other.name)
        if file is not None and file.nbytes == other.nbytes:
            found[other.name] = replace(
                file, sha256=other.sha256, members=other.members
            )
    return found


def _licence_file(folder: Path, sizes: dict[str, int]) -> tuple[str, bytes] | None:
    for name in LICENCE_NAMES:
        if name in sizes:
            with InputFile(folder / name) as file:
                return name, file.read(0, min(file.nbytes, _LICENCE_NBYTES_MAX))
    return None


def _with_digests(
    subject: Subject, folder: Path, *, threads: int, progress: Progress
) -> Subject:
    """Return the subject with the digests that card or headers make claims about."""
    files = dict(subject.files or {})
    claimed = {mention.name for mention, _, _ in digest_claims(subject)}
    claimed |= {
        name
        for name, file in files.items()
        if file.weights and HASH_KEY in file.weights.metadata
    }
    wanted = [files[n] for n in sorted(claimed & files.keys()) if not files[n].sha256]
    if not wanted:
        return subject
    total = sum(file.nbytes for file in wanted)
    with (
        progress.stage("hash what the card names", total) as advance,
        ThreadPoolExecutor(threads, "krelease-sha256") as pool,
    ):
        futures = [pool.submit(_hashed, folder, file, advance) for file in wanted]
        for future in futures:
            files[future.result().name] = future.result()
    return replace(subject, files=files)


def _hashed(folder: Path, file: FileFacts, advance: Advance) -> FileFacts:
    whole, data = Sha256(), Sha256()
    with InputFile(folder / file.name) as opened:
        begin = opened.nbytes
        if file.weights is not None:
            begin = 8 + int.from_bytes(opened.read(0, 8), "little")
        scan(opened, 0, begin, whole, advance=advance)
        scan(opened, begin, opened.nbytes, whole, data, advance=advance)
    return replace(
        file,
        sha256=whole.hexdigest(),
        data_sha256=data.hexdigest() if file.weights is not None else None,
    )
