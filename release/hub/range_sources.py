"""What the user names as a source of ranges: a repository, an address, or a path."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from huggingface_hub import get_hf_file_metadata, hf_hub_url

from release.claims.claim import Claim
from release.claims.gather import claims_beside
from release.errors import HubError, first_names, visible
from release.hub.addresses import require_address, send
from release.hub.claims import hub_claims
from release.hub.client import HubConnection, connect
from release.hub.ranges import HttpRanges
from release.hub.reference import HubReference, parse_reference
from release.hub.remote import resolve_commit
from release.repair.source import FileSource, RangeSource

_HUB: Final = "hf://"
_SHORT: Final = 12
"""Digits of a commit that people tell it by."""
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
            beside = (
                claim for claim in claims_beside(path) if claim.file_name == path.name
            )
            yield OpenSource(source, _renamed(beside, damaged))


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
    commit = resolve_commit(connection, repo_id, reference.revision)
    said = hub_claims(connection, repo_id, commit)
    found = _find(said, reference, damaged, claims)
    ranges = _hub_ranges(connection, repo_id, commit, found)
    return OpenSource(ranges, _renamed([found], damaged))


def _hub_ranges(
    connection: HubConnection, repo_id: str, commit: str, claim: Claim
) -> HttpRanges:
    """Compare what the file's address says with the listing, before any range."""
    name = str(claim.name)
    url = hf_hub_url(repo_id, name, revision=commit, endpoint=connection.endpoint)
    label = visible(f"{repo_id}@{commit[:_SHORT]}/{name}", 1024)
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


def _renamed(claims: Iterable[Claim], damaged: Path) -> tuple[Claim, ...]:
    """Return claims about one file, which is called otherwise here."""
    return tuple(replace(claim, name=damaged.name) for claim in claims)
