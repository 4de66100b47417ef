"""What the user names as a source of ranges: a repository, an address, or a path."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from huggingface_hub import get_hf_file_metadata, hf_hub_url

from release.claims.claim import Claim
from release.errors import HubError, InputError, first_names, visible
from release.hub.addresses import require_address, send
from release.hub.claims import SHORT_COMMIT, hub_claims
from release.hub.client import HubConnection, connect
from release.hub.ranges import HttpRanges
from release.hub.reference import HubReference, parse_reference
from release.hub.remote import resolve_commit
from release.repair.source import OpenSource, renamed

_HUB: Final = "hf://"
_ADDRESS: Final = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@contextmanager
def open_remote(
    text: str, damaged: Path, claims: Sequence[Claim], *, note: Callable[[str], None]
) -> Iterator[OpenSource]:
    """Open what lies on a Hub, or at an address; use it in a `with` statement.

    Args:
        text: `OWNER/REPO[@REVISION]`, `hf://OWNER/REPO[@REVISION][/FILE]`, or an
            address that begins with `https://`.
        damaged: The file to repair: a repository is searched for its name.
        claims: What is said about it already: a repository may have it renamed.
        note: Told what is being asked, one line.

    Raises:
        UsageError: `url` for an address from which no file is fetched.
        InputError: `not-found`, it is neither, nor a path.
        HubError: The server does not have it, refuses, or cannot be reached.
    """
    if _ADDRESS.match(text) and not text.lower().startswith(_HUB):
        require_address(text)
        parts = urlsplit(text)
        origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        label = visible(f"{origin}{parts.path}", 1024)
        note(f"look at {label}")
        with connect(origin) as connection:
            yield OpenSource(_open_address(connection, text, label), ())
        return
    reference = parse_reference(f"{_HUB}{text.removeprefix(_HUB)}")
    if reference is None:
        raise InputError(
            text,
            "not found, and neither a repository nor an address",
            code="not-found",
            hint="name OWNER/REPO[@REVISION], hf://OWNER/REPO[@REVISION]/FILE, an "
            "address that begins with https://, or another copy on disk",
        )
    note(f"look up {reference.repo_id} at {visible(reference.revision)}")
    with connect() as connection:
        yield _open_on_hub(connection, reference, damaged, claims)


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
    commit = resolve_commit(connection, repo_id, reference.revision)
    said = hub_claims(connection, repo_id, commit)
    found = _find(said, reference, damaged, claims)
    ranges = _hub_ranges(connection, repo_id, commit, found)
    return OpenSource(ranges, renamed([found], damaged))


def _hub_ranges(
    connection: HubConnection, repo_id: str, commit: str, claim: Claim
) -> HttpRanges:
    """Compare what the file's address says with the listing, before any range."""
    name = str(claim.name)
    url = hf_hub_url(repo_id, name, revision=commit, endpoint=connection.endpoint)
    label = visible(f"{repo_id}@{commit[:SHORT_COMMIT]}/{name}", 1024)
    metadata = connection.read(
        f"{label}: look at it",
        lambda: get_hf_file_metadata(
            url,
            headers=connection.headers(),
            timeout=connection.timeout_seconds,
            endpoint=connection.endpoint,
        ),
    )
    expected = (commit, claim.nbytes, claim.sha256 or claim.git_blob_id)
    if (metadata.commit_hash, metadata.size, metadata.etag) != expected:
        raise HubError(
            f"{label}: the Hub's listing and the file's address disagree: "
            f"{metadata.size} bytes, {visible(metadata.etag, 80)}, expected "
            f"{claim.nbytes}, {expected[2]}",
            code="hub-answer",
            hint="run the command again later, or name another --from",
        )
    return HttpRanges(
        connection,
        url,
        label,
        metadata.size or 0,
        sha256=claim.sha256,
        headers=connection.headers(),
    )


def _find(
    said: Sequence[Claim],
    reference: HubReference,
    damaged: Path,
    claims: Sequence[Claim],
) -> Claim:
    """Return the file that is named, or has the same SHA-256, or the same name.

    Raises:
        HubError: `hub-file-not-found` or `hub-file-ambiguous`.
    """
    known = {each.sha256 for each in claims if each.file_name in {None, damaged.name}}
    if reference.file is not None:
        found = [each for each in said if each.name == reference.file]
    else:
        by_sha256 = [each for each in said if each.sha256 in known - {None}]
        by_name = [each for each in said if each.file_name == damaged.name]
        found = by_sha256[:1] or by_name
    if len(found) == 1:
        return found[0]
    large = sorted(str(each.name) for each in said if each.sha256 is not None)
    named = [str(each.name) for each in found] or large or ["FILE"]
    raise HubError(
        f"{reference.repo_id}: has {len(found) or 'no'} "
        f"{visible(reference.file or damaged.name)}; it holds "
        f"{first_names(large) or 'no large files'}",
        code="hub-file-ambiguous" if found else "hub-file-not-found",
        hint=f"name the file: --from {_HUB}{reference.repo_id}@"
        f"{visible(reference.revision)}/{visible(named[0])}",
    )
