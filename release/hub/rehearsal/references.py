"""Branches, tags and pull-request refs: names, look-up, creation, deletion."""

import re
from dataclasses import dataclass
from typing import Final

from dulwich.file import FileLocked
from dulwich.object_store import peel_sha
from dulwich.objects import Commit, ObjectID
from dulwich.refs import Ref, check_ref_format
from dulwich.repo import Repo

from release.hub.rehearsal.protocol import (
    RefusedError,
    bad_request,
    revision_not_found,
)

BRANCHES: Final = "refs/heads/"
TAGS: Final = "refs/tags/"
PULL_REQUESTS: Final = "refs/pr/"
MAIN: Final = "main"

_COMMIT: Final = re.compile(r"[0-9a-f]{5,40}")
_SHORTEST_REVISION: Final = 7


@dataclass(frozen=True, slots=True)
class Reference:
    """One ref and the commit it leads to, annotated tags peeled."""

    ref: str
    name: str
    """The ref without the prefix of its kind."""
    commit: str


def list_references(git: Repo, prefix: str) -> list[Reference]:
    """Return the refs below `prefix`, sorted by name."""
    refs = git.refs.as_dict(Ref(prefix.rstrip("/").encode()))
    return [
        Reference(
            ref=prefix + name.decode(),
            name=name.decode(),
            commit=_peeled(git, oid),
        )
        for name, oid in sorted(refs.items())
    ]


def _peeled(git: Repo, oid: ObjectID) -> str:
    return peel_sha(git.object_store, oid)[1].id.decode()


def read_reference(git: Repo, ref: str) -> str | None:
    """Return the commit a full ref name leads to, or None."""
    if not check_ref_format(Ref(ref.encode())):
        return None
    try:
        return _peeled(git, git.refs[Ref(ref.encode())])
    except KeyError:
        return None


def resolve(git: Repo, revision: str) -> str:
    """Return the commit id of a branch, tag, full ref or commit id.

    A commit may be shortened to 7 digits or more if only one commit begins so.

    Raises:
        RefusedError: 404; there is no such revision.
    """
    names = [BRANCHES + revision, TAGS + revision]
    if revision.startswith("refs/"):
        names = [revision]
    for name in names:
        found = read_reference(git, name)
        if found is not None:
            return found
    if len(revision) < _SHORTEST_REVISION:
        raise revision_not_found(revision)
    return find_commit(git, revision)


def find_commit(git: Repo, digits: str) -> str:
    """Return the one commit whose id begins with `digits` (5 to 40), or raise 404."""
    store = git.object_store
    if not _COMMIT.fullmatch(digits):
        raise revision_not_found(digits)
    found = [
        oid.decode()
        for oid in store.iter_prefix(digits.encode())
        if isinstance(store[oid], Commit)
    ]
    if len(found) != 1:
        raise revision_not_found(digits)
    return found[0]


def writable_ref(git: Repo, revision: str) -> str:
    """Return the full name of the branch or pull request that a commit may move.

    Raises:
        RefusedError: 400 for a tag or a commit id, 404 for what does not exist.
    """
    ref = revision if revision.startswith(PULL_REQUESTS) else BRANCHES + revision
    if read_reference(git, ref) is None:
        resolve(git, revision)
        raise bad_request(f"{revision} is not a branch")
    return ref


def add_reference(git: Repo, ref: str, target: ObjectID) -> None:
    """Create a ref.

    Raises:
        RefusedError: 400 for an impossible name; 409 if it exists, or if git could not
            hold it beside another (`staging` and `staging/x`).
    """
    name = ref.split("/", 2)[2]
    if name.startswith("refs/") or not check_ref_format(Ref(ref.encode())):
        raise bad_request(f"Invalid reference name: {name}")
    for known in git.refs.allkeys():
        other = known.decode()
        if other.startswith(f"{ref}/") or ref.startswith(f"{other}/"):
            raise RefusedError(409, f"Reference {name} collides with {other}")
    try:
        created = git.refs.add_if_new(Ref(ref.encode()), target)
    except FileLocked:
        created = False
    if not created:
        raise RefusedError(409, f"Reference already exists: {name}")


def remove_reference(git: Repo, ref: str) -> None:
    """Delete a ref. Raises RefusedError (404) if there is none."""
    if read_reference(git, ref) is None:
        raise revision_not_found(ref.split("/", 2)[2])
    git.refs.remove_if_equals(Ref(ref.encode()), None)


def move_reference(git: Repo, ref: str, *, old: str, new: str) -> None:
    """Move a ref in one compare-and-set step.

    Raises:
        RefusedError: 412; the ref is no longer at `old`.
    """
    before, after = ObjectID(old.encode()), ObjectID(new.encode())
    try:
        moved = git.refs.set_if_equals(Ref(ref.encode()), before, after)
    except FileLocked:
        moved = False
    if not moved:
        raise head_moved()


def head_moved() -> RefusedError:
    """Return the 412 for a commit whose parent is no longer the head."""
    return RefusedError(
        412,
        "The branch was updated since you opened this page. "
        "Please refresh and try again.",
    )
