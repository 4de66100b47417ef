"""Reading what is linted from a Hub: sizes, digests and headers, no weights."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from release.errors import (
    CardError,
    CheckpointError,
    HubError,
    IntegrityError,
    UsageError,
    visible,
)
from release.formats.limits import SHARDS_MAX
from release.hub.beginning import (
    read_remote_header,
    read_small_file,
)
from release.hub.client import HubConnection
from release.hub.remote import RemoteFile, read_tree, resolve_commit
from release.licences.combine import Part
from release.licences.known import find_licence
from release.lint.card import CARD_NBYTES_MAX, Card, parse_card
from release.lint.subject import (
    FileFacts,
    Subject,
    stated_licence,
    weights_of,
)
from release.manifest import (
    CARD_NAME,
    MAX_MANIFEST_NBYTES,
    Manifest,
    parse_manifest,
)
from release.metadata import LICENCE_NAMES, MANIFEST_NAME

REPO: Final = re.compile(
    r"(?P<repo>[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95})(?:@(?P<revision>\S+))?",
    re.ASCII,
)
_LICENCE_NBYTES_MAX: Final = 1024 * 1024
_BASES_MAX: Final = 16


def read_repo(connection: HubConnection, reference: str) -> Subject:
    """Return the card of a repository and the facts of its files.

    Sizes and SHA-256 are those that the Hub lists at the commit the revision leads to
    now; of each safetensors file the header is fetched.

    Args:
        connection: Reads only.
        reference: `OWNER/REPO`, or `OWNER/REPO@REVISION`.

    Raises:
        UsageError: A reference of another form.
        CardError: Code "no-card": the repository has no README.md.
        HubError: The Hub does not have it, refuses, or cannot be reached.
    """
    found = REPO.fullmatch(reference)
    if found is None:
        raise UsageError(
            f"{visible(reference)}: neither a folder, nor a file, nor OWNER/REPO",
            code="lint-target",
            hint="for example krelease lint KBlueLeaf/Kohaku-XL-gamma",
        )
    repo_id = found["repo"]
    commit = resolve_commit(connection, repo_id, found["revision"] or "main")
    tree = read_tree(connection, repo_id, commit)
    if CARD_NAME not in tree:
        raise CardError(
            f"{repo_id}: has no {CARD_NAME}",
            code="no-card",
            hint="write one: without it nobody knows what the files are",
        )
    source = _Source(connection, repo_id, commit)
    manifest = source.manifest(tree)
    card = parse_card(source.small(tree[CARD_NAME], CARD_NBYTES_MAX))
    return Subject(
        card,
        files=source.files(tree, manifest),
        licence_file=source.licence(tree),
        manifest=manifest,
        bases=() if manifest else tuple(_bases(connection, card)),
    )


def _bases(connection: HubConnection, card: Card) -> Iterator[Part]:
    """Yield the base models that a card names and whose cards state a known licence.

    What is gone, gated or named wrongly says nothing about licences.
    """
    for name in card.texts("base_model")[:_BASES_MAX]:
        if REPO.fullmatch(name) is None or "@" in name:
            continue
        try:
            commit = resolve_commit(connection, name, "main")
            tree = read_tree(connection, name, commit, recursive=False)
            if CARD_NAME not in tree:
                continue
            source = _Source(connection, name, commit)
            base = parse_card(source.small(tree[CARD_NAME], CARD_NBYTES_MAX))
        except HubError:
            continue
        licence = stated_licence(base)
        if find_licence(licence) is not None:
            yield Part(name, name, licence, source="its card")


class _Source:
    """One commit of a repository."""

    def __init__(self, connection: HubConnection, repo_id: str, commit: str) -> None:
        self._connection = connection
        self._repo_id = repo_id
        self._commit = commit

    def small(self, file: RemoteFile, nbytes_max: int) -> bytes:
        return read_small_file(
            self._connection, self._repo_id, self._commit, file, nbytes_max=nbytes_max
        )

    def licence(self, tree: dict[str, RemoteFile]) -> tuple[str, bytes] | None:
        for name in LICENCE_NAMES:
            if name in tree:
                return name, self.small(tree[name], _LICENCE_NBYTES_MAX)
        return None

    def manifest(self, tree: dict[str, RemoteFile]) -> Manifest | None:
        """Return the release's manifest; None for none, and for another tool's."""
        file = tree.get(MANIFEST_NAME)
        if file is None or file.nbytes > MAX_MANIFEST_NBYTES:
            return None
        try:
            raw = self.small(file, MAX_MANIFEST_NBYTES)
            return parse_manifest(raw, Path(f"{self._repo_id}/{file.name}"))
        except IntegrityError:
            return None

    def files(
        self, tree: dict[str, RemoteFile], manifest: Manifest | None
    ) -> dict[str, FileFacts]:
        """Return the facts of every file; of the first 512 checkpoints the header."""
        found = {
            name: FileFacts(name, file.nbytes, sha256=file.sha256)
            for name, file in tree.items()
        }
        checkpoints = sorted(name for name in tree if name.endswith(".safetensors"))
        for name in checkpoints[:SHARDS_MAX]:
            found[name] = self._with_header(found[name], tree[name])
        for record in manifest.checkpoints if manifest else ():
            file = found.get(record.name)
            if file is not None and file.sha256 == record.sha256:
                found[record.name] = replace(file, data_sha256=record.data_sha256)
        for other in manifest.files if manifest else ():
            file = found.get(other.name)
            if file is not None and file.sha256 == other.sha256:
                found[other.name] = replace(file, members=other.members)
        return found

    def _with_header(self, facts: FileFacts, file: RemoteFile) -> FileFacts:
        """Return the facts with what the header says; as they were if it has none."""
        try:
            header = read_remote_header(
                self._connection, self._repo_id, self._commit, file
            )
        except CheckpointError:
            return facts
        tensors = {entry.name: entry for entry in header.tensors}
        return replace(facts, weights=weights_of(tensors, header.metadata))
