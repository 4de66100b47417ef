"""What a Hub repository holds, as plain values, and whether that is what we have."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from huggingface_hub.hf_api import RepoFile, RepoFolder

from release.errors import HubError, visible
from release.formats.input import InputFile
from release.formats.scan import scan
from release.hub.client import HubConnection
from release.numeric.digest import GitBlob

MAIN: Final = "main"
_COMMIT_ID: Final = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class ReleaseFile:
    """A file of a release: where it lies here, and what it must be on the Hub."""

    path: Path
    name: str
    """Path in the repository, with `/`."""
    nbytes: int
    sha256: str
    """64 lower-case hex digits."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file in a commit of a repository, as the Hub lists it."""

    name: str
    nbytes: int
    blob_id: str
    """Git's SHA-1; of a large file that of its pointer."""
    sha256: str | None
    """Of a large file; None for one that git itself holds."""


@dataclass(frozen=True, slots=True)
class References:
    """Branches and tags of a repository, each with the commit it leads to."""

    branches: Mapping[str, str]
    tags: Mapping[str, str]

    @property
    def head(self) -> str | None:
        """The commit of main, None before the first."""
        return self.branches.get(MAIN)


def read_references(connection: HubConnection, repo_id: str) -> References | None:
    """Return branches and tags, or None if there is no such repository.

    Raises:
        HubError: Anything but a missing repository.
    """
    try:
        refs = connection.read(
            f"{repo_id}: list the branches and tags",
            lambda: connection.api.list_repo_refs(repo_id),
        )
    except HubError as error:
        if error.code == "hub-not-found":
            return None
        raise
    return References(
        branches={ref.name: commit_id(ref.target_commit) for ref in refs.branches},
        tags={ref.name: commit_id(ref.target_commit) for ref in refs.tags},
    )


def commit_id(text: object) -> str:
    """Return a commit id after checking its form: 40 lower-case hex digits.

    Raises:
        HubError: `hub-answer`; the Hub sent something else.
    """
    if isinstance(text, str) and _COMMIT_ID.fullmatch(text):
        return text
    raise HubError(
        f"{visible(text, 80)}: not a commit id of 40 hex digits",
        code="hub-answer",
        hint="check that the endpoint is a Hub",
    )


def resolve_commit(connection: HubConnection, repo_id: str, revision: str) -> str:
    """Return the commit that a branch, tag or commit leads to now.

    Raises:
        HubError: `hub-not-found` or `hub-revision-not-found`, or as for any call.
    """
    info = connection.read(
        f"{repo_id}: look up the revision {revision}",
        lambda: connection.api.model_info(
            repo_id, revision=revision, timeout=connection.timeout_seconds
        ),
    )
    return commit_id(info.sha)


def has_repo(
    connection: HubConnection, repo_id: str, *, is_dataset: bool = False
) -> bool:
    """Return whether a Hub has a repository that this account may know of.

    Raises:
        HubError: Anything but a missing repository; not for a gated one.
    """
    kind = "dataset" if is_dataset else "model"
    try:
        connection.once(
            f"{repo_id}: look it up",
            lambda: connection.api.repo_info(
                repo_id, repo_type=kind, timeout=connection.timeout_seconds
            ),
        )
    except HubError as error:
        if error.code not in {"hub-not-found", "hub-gated"}:
            raise
        return error.code == "hub-gated"
    return True


def read_tree(
    connection: HubConnection, repo_id: str, revision: str, *, recursive: bool = True
) -> dict[str, RemoteFile]:
    """Return the files of a revision by name; without `recursive` those at its top."""

    def request() -> list[RepoFile | RepoFolder]:
        tree: Iterator[RepoFile | RepoFolder] = iter(
            connection.api.list_repo_tree(
                repo_id, revision=revision, recursive=recursive
            )
        )
        return list(tree)

    entries = connection.once(f"{repo_id}: list the files of {revision}", request)
    return {
        entry.path: _remote_file(entry)
        for entry in entries
        if isinstance(entry, RepoFile)
    }


def _remote_file(entry: RepoFile) -> RemoteFile:
    """Return the client's listing entry as our own value."""
    return RemoteFile(
        name=entry.path,
        nbytes=entry.size,
        blob_id=entry.blob_id,
        sha256=entry.lfs.sha256 if entry.lfs else None,
    )


def holds(remote: RemoteFile | None, file: ReleaseFile) -> bool:
    """Return whether the Hub lists exactly the bytes of `file`.

    A large file is compared by SHA-256, a regular one by git's blob id, for which the
    local file is read.

    Raises:
        InputError: The local file cannot be read.
    """
    if remote is None or remote.nbytes != file.nbytes:
        return False
    if remote.sha256 is not None:
        return remote.sha256 == file.sha256
    return remote.blob_id == git_blob_id(file.path)


def git_blob_id(path: Path) -> str:
    """Return the SHA-1 that git names the file's content by.

    Raises:
        InputError: The file cannot be read.
    """
    with InputFile(path) as file:
        digest = GitBlob(file.nbytes)
        scan(file, 0, file.nbytes, digest)
    return digest.hexdigest()


def differing(
    tree: Mapping[str, RemoteFile], files: tuple[ReleaseFile, ...]
) -> tuple[ReleaseFile, ...]:
    """Return those files that a tree lacks or holds with other bytes."""
    return tuple(file for file in files if not holds(tree.get(file.name), file))
