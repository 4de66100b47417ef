"""What the user names as a source of ranges: a repository, an address, or a path."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from huggingface_hub import get_hf_file_metadata, hf_hub_url

from release.claims.claim import Claim, Source
from release.claims.gather import claims_beside
from release.errors import HubError, first_names, visible
from release.hub.addresses import require_address, send
from release.hub.client import HubConnection, connect
from release.hub.ranges import HttpRanges
from release.hub.reference import HubReference, parse_reference
from release.hub.remote import RemoteFile, commit_id, read_tree
from release.repair.source import FileSource, RangeSource

_HUB: Final = "hf://"
_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class OpenSource:
    """A source of ranges, and what is said about the file where it lies.

    The claims call the file by the name that it has here.
    """

    ranges: RangeSource
    claims: tuple[Claim, ...]


@contextmanager
def open_source(
    text: str,
    damaged: Path,
    claims: Sequence[Claim] = (),
    *,
    note: Callable[[str], None] = lambda _: None,
) -> Iterator[OpenSource]:
    """Open what `text` names; use it in a `with` statement.

    Args:
        text: `OWNER/REPO[@REVISION]`, `hf://OWNER/REPO[@REVISION][/FILE]`, an address
            that begins with `https://`, or the path of a copy. What exists as a path is
            a path.
        damaged: The file to repair: a repository is searched for its name.
        claims: What is said about it already: a repository may have it renamed.
        note: Told what is being asked, one line.

    Raises:
        UsageError: `url` for an address from which no file is fetched; `same-file`.
        InputError: The copy cannot be opened.
        IntegrityError: What lies beside the copy is not what its name promises.
        HubError: The server does not have it, refuses, or cannot be reached.
    """
    reference = _reference(text)
    if reference is not None:
        with connect() as connection:
            note(f"look up {reference.repo_id} at {visible(reference.revision)}")
            yield _open_on_hub(connection, reference, damaged, claims)
    elif _URL.match(text):
        require_address(text)
        parts = urlsplit(text)
        host = parts.netloc.rpartition("@")[2]
        with connect(f"{parts.scheme}://{host}") as connection:
            label = visible(f"{parts.scheme}://{host}{parts.path}", 1024)
            note(f"look at {label}")
            yield OpenSource(_open_address(connection, text, label), ())
    else:
        path = Path(text)
        with closing(FileSource(path, damaged=damaged)) as source:
            beside = _about(claims_beside(path), path.name, damaged)
            yield OpenSource(source, beside)


def _reference(text: str) -> HubReference | None:
    if text.lower().startswith(_HUB):
        return parse_reference(text)
    if _URL.match(text) or Path(text).exists():
        return None
    return parse_reference(f"{_HUB}{text}")


def _open_address(connection: HubConnection, url: str, label: str) -> HttpRanges:
    def ask() -> HttpRanges:
        headers = {"Accept-Encoding": "identity", "Range": "bytes=0-0"}
        response = send(url, headers, label=label)
        with closing(response):
            return HttpRanges.from_probe(connection, url, label, response)

    return connection.read(f"{label}: look at it", ask)


def _open_on_hub(
    connection: HubConnection,
    reference: HubReference,
    damaged: Path,
    claims: Sequence[Claim],
) -> OpenSource:
    """Pin the revision to its commit, and find the file there."""
    repo_id = reference.repo_id
    info = connection.read(
        f"{repo_id}: look up the revision {visible(reference.revision)}",
        lambda: connection.api.model_info(
            repo_id, revision=reference.revision, timeout=connection.timeout_seconds
        ),
    )
    commit = commit_id(info.sha)
    tree = read_tree(connection, repo_id, commit)
    remote = _find(tree, reference, damaged, claims)
    ranges = _hub_ranges(connection, repo_id, commit, remote)
    said = Claim(
        Source("hub", f"the Hub ({ranges.label})"),
        name=remote.name,
        nbytes=remote.nbytes,
        sha256=remote.sha256,
    )
    return OpenSource(ranges, _about([said], said.file_name, damaged))


def _hub_ranges(
    connection: HubConnection, repo_id: str, commit: str, remote: RemoteFile
) -> HttpRanges:
    """Compare what the file's address says with the listing, before any range."""
    url = hf_hub_url(
        repo_id, remote.name, revision=commit, endpoint=connection.endpoint
    )
    label = visible(f"{repo_id}@{commit[:12]}/{remote.name}", 1024)
    metadata = connection.read(
        f"{label}: look at it",
        lambda: get_hf_file_metadata(
            url,
            headers=connection.headers(),
            timeout=connection.timeout_seconds,
            endpoint=connection.endpoint,
        ),
    )
    got = (metadata.commit_hash, metadata.size, metadata.etag)
    if got != (commit, remote.nbytes, remote.sha256 or remote.blob_id):
        raise HubError(
            f"{label}: the Hub's listing and the file's address disagree: "
            f"{metadata.size} bytes, {visible(metadata.etag, 80)}, expected "
            f"{remote.nbytes}, {remote.sha256 or remote.blob_id}",
            code="hub-answer",
            hint="run the command again later, or name another --from",
        )
    return HttpRanges(
        connection, url, label, remote.nbytes, remote.sha256, connection.headers()
    )


def _find(
    tree: dict[str, RemoteFile],
    reference: HubReference,
    damaged: Path,
    claims: Sequence[Claim],
) -> RemoteFile:
    """Return the file that is named, or has the same name, or the same SHA-256.

    Raises:
        HubError: `hub-file-not-found` or `hub-file-ambiguous`.
    """
    if reference.file is not None:
        found = [reference.file] if reference.file in tree else []
    else:
        known = {each.sha256 for each in claims if each.file_name == damaged.name}
        by_sha256 = [name for name in tree if tree[name].sha256 in known - {None}]
        by_name = [name for name in tree if name.rpartition("/")[2] == damaged.name]
        found = by_sha256[:1] or by_name
    if len(found) == 1:
        return tree[found[0]]
    wanted = visible(reference.file or damaged.name)
    large = sorted(name for name in tree if tree[name].sha256 is not None)
    raise HubError(
        f"{reference.repo_id}: has {len(found) or 'no'} {wanted}; it holds "
        f"{first_names(large) or 'no large files'}",
        code="hub-file-ambiguous" if found else "hub-file-not-found",
        hint=f"name the file: --from {_HUB}{reference.repo_id}@"
        f"{visible(reference.revision)}/{first_names((found or large)[:1]) or 'FILE'}",
    )


def _about(
    claims: Sequence[Claim], name: str | None, damaged: Path
) -> tuple[Claim, ...]:
    """Return the claims about one file, which is called otherwise here."""
    return tuple(
        replace(claim, name=damaged.name) for claim in claims if claim.file_name == name
    )
