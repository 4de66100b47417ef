"""Ingredients that lie on a Hub: found, pinned to a commit, downloaded to the cache."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from release.errors import HubError, first_names
from release.hub.client import HubConnection
from release.hub.remote import RemoteFile, read_tree, resolve_commit

_CHECKPOINT_SUFFIX: Final = ".safetensors"


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of one commit; a branch cannot move it."""

    repo_id: str
    commit: str
    """40 hex digits."""
    file: str
    nbytes: int
    sha256: str | None
    """As the Hub states it; None for a file small enough for git itself."""


def resolve_ingredient(
    connection: HubConnection, repo_id: str, revision: str, file: str | None
) -> HubFile:
    """Find an ingredient and pin it to the commit its revision leads to now.

    Args:
        connection: Reads only.
        repo_id: Repository as `namespace/name`.
        revision: Branch, tag or commit.
        file: Path in the repository; None for the only `.safetensors` at its top.

    Raises:
        HubError: `hub-not-found`, `hub-revision-not-found`, `hub-file-not-found`, or
            `hub-file-ambiguous` when `file` is None and there are several.
    """
    commit = resolve_commit(connection, repo_id, revision)
    tree = read_tree(connection, repo_id, commit, recursive="/" in (file or ""))
    found = _chosen(tree, repo_id=repo_id, file=file)
    return HubFile(repo_id, commit, found.name, found.nbytes, found.sha256)


def _chosen(
    tree: dict[str, RemoteFile], *, repo_id: str, file: str | None
) -> RemoteFile:
    at_top = sorted(
        name for name in tree if "/" not in name and name.endswith(_CHECKPOINT_SUFFIX)
    )
    if file is not None and file in tree:
        return tree[file]
    if file is None and len(at_top) == 1:
        return tree[at_top[0]]
    if file is None and at_top:
        raise HubError(
            f"{repo_id}: {len(at_top)} checkpoints, which one is meant is not said: "
            f"{first_names(at_top)}",
            code="hub-file-ambiguous",
            hint=f'write file = "{first_names(at_top[:1])}", or another of them, into '
            "the ingredient's table of the definition",
        )
    missing = file or f"a {_CHECKPOINT_SUFFIX} file at the top"
    raise HubError(
        f"{repo_id}: has no {first_names([missing])}",
        code="hub-file-not-found",
        hint=f"there is: {first_names(at_top)}"
        if at_top
        else "name the file with its folder, as the repository lists it",
    )


def fetch_ingredient(
    connection: HubConnection, hub_file: HubFile, *, cache_dir: Path | None = None
) -> Path:
    """Download a pinned file, unless the cache has it, and return its path.

    The client compares sizes, not bytes: whoever reads the file compares its SHA-256
    with `hub_file.sha256`.

    Args:
        connection: Reads only.
        hub_file: From `resolve_ingredient`.
        cache_dir: The Hub cache; None for the client's own (`HF_HOME`).

    Raises:
        HubError: The Hub refuses, or cannot be reached and the cache lacks the file.
        WriteError: The cache cannot be written.
    """
    return Path(
        connection.once(
            f"{hub_file.repo_id}: download {first_names([hub_file.file])}",
            lambda: connection.api.hf_hub_download(
                hub_file.repo_id,
                hub_file.file,
                revision=hub_file.commit,
                cache_dir=cache_dir,
            ),
        )
    )
