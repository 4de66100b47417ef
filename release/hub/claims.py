"""Claims of a Hub: what a repository holds at one commit."""

from dataclasses import replace
from pathlib import Path
from typing import Final

from release.claims.claim import Claim, Source
from release.claims.manifest import parse_manifest_claims
from release.errors import IntegrityError, visible
from release.formats.paths import safe_relative_path
from release.hub.beginning import read_small_file
from release.hub.client import HubConnection
from release.hub.remote import RemoteFile, read_tree, resolve_commit
from release.manifest import MAX_MANIFEST_NBYTES
from release.metadata import MANIFEST_NAME

SHORT_COMMIT: Final = 12
"""Digits of a commit that people tell it by."""


def hub_claims(
    connection: HubConnection, repo_id: str, revision: str
) -> tuple[Claim, ...]:
    """Return what a revision holds, at the commit that it leads to now.

    Sizes and SHA-256 are those that the Hub itself states; of a small file it states
    git's SHA-1. The repository's own manifest.json adds tensors and chunks where it
    agrees with the Hub about the file.

    Args:
        connection: Reads only.
        repo_id: Repository as `namespace/name`.
        revision: Branch, tag or commit.

    Raises:
        HubError: There is no such repository or revision, or the Hub cannot be reached.
        IntegrityError: `path`, the repository has a file whose name leaves a folder.
    """
    commit = resolve_commit(connection, repo_id, revision)
    tree = read_tree(connection, repo_id, commit)
    source = Source("hub", f"{visible(repo_id)} at commit {commit[:SHORT_COMMIT]}")
    stated = {
        claim.name: claim for claim in _manifest(connection, repo_id, commit, tree)
    }
    return tuple(_claim(source, file, stated.get(name)) for name, file in tree.items())


def _claim(source: Source, file: RemoteFile, stated: Claim | None) -> Claim:
    safe_relative_path(file.name)
    if stated is not None and _agree(file, stated):
        return replace(stated, source=source)
    return Claim(
        source,
        name=file.name,
        nbytes=file.nbytes,
        sha256=file.sha256,
        git_blob_id=file.blob_id if file.sha256 is None else None,
    )


def _agree(file: RemoteFile, stated: Claim) -> bool:
    return (stated.nbytes, stated.sha256) == (file.nbytes, file.sha256)


def _manifest(
    connection: HubConnection, repo_id: str, commit: str, tree: dict[str, RemoteFile]
) -> tuple[Claim, ...]:
    """Return the claims of the repository's manifest; none without a proper one."""
    file = tree.get(MANIFEST_NAME)
    if file is None or file.nbytes > MAX_MANIFEST_NBYTES:
        return ()
    text = read_small_file(
        connection, repo_id, commit, file, nbytes_max=MAX_MANIFEST_NBYTES
    )
    try:
        source = Source("hub", MANIFEST_NAME)
        return parse_manifest_claims(text, Path(MANIFEST_NAME), source)
    except IntegrityError:
        return ()  # of another program, or of a newer krelease
