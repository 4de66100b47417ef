"""The visible part of a publish: one commit on main, one tag, both looked at again."""

from collections.abc import Sequence
from typing import Final

from huggingface_hub import CommitOperationCopy

from release.errors import HubError, first_names
from release.hub.failures import head_moved
from release.hub.publication import Publication
from release.hub.remote import (
    MAIN,
    References,
    commit_id,
    differing,
    read_references,
    read_tree,
)

_WRITTEN_BY_THE_HUB: Final = frozenset({".gitattributes"})


def promote(job: Publication, *, base: str, staged: str, names: Sequence[str]) -> str:
    """Put the staged files on main with one commit and return its id.

    Large files are copied inside the Hub. The commit names its parent, so it happens
    only if main is still where it was when the release was planned.

    Args:
        job: The publication.
        base: Head of main when the release was planned.
        staged: Commit id on the staging branch, already fetched back and compared. Not
            the branch, whose content could be swapped meanwhile.
        names: Files that main lacks.

    Raises:
        HubError: `hub-moved` when main changed meanwhile and is not this release.
    """

    def request() -> str:
        return job.connection.api.create_commit(
            job.repo_id,
            operations=[
                CommitOperationCopy(name, name, src_revision=staged) for name in names
            ],
            commit_message=job.title,
            commit_description=job.summary,
            revision=MAIN,
            parent_commit=base,
        ).oid

    commit = job.connection.settle(
        f"{job.repo_id}: promote to {MAIN}",
        request,
        outcome=lambda: _promoted(job, base=base),
    )
    # A copy that changes nothing returns whatever the head is.
    job.require_complete(commit_id(commit))
    return commit


def _promoted(job: Publication, *, base: str) -> str | None:
    head = _references(job).head
    if head is None or head == base:
        return None
    if differing(read_tree(job.connection, job.repo_id, head), job.files):
        raise head_moved(job.repo_id, planned=base, found=head)
    return head


def begin_history(job: Publication, commit: str) -> str:
    """Return `commit`, or what stands for it once the Hub's own first commit is gone.

    A new repository begins with a commit that the Hub makes to hold `.gitattributes`.
    For the first release, and only if there is nothing else, that commit and the
    release are joined, so that the history begins with the release.
    """
    if not _is_first_release(job, commit):
        return commit
    job.on_step("let the history begin with the release")
    message = f"{job.title}\n\n{job.summary}".strip()

    def request() -> bool:
        job.connection.api.super_squash_history(
            job.repo_id, branch=MAIN, commit_message=message
        )
        return True

    try:
        job.connection.settle(
            f"{job.repo_id}: join the first two commits of {MAIN}",
            request,
            outcome=lambda: _references(job).head != commit or None,
        )
    except HubError as error:
        job.connection.notices.append(f"the Hub's own first commit stays: {error}")
    head = _references(job).head
    return commit if head is None else head


def _is_first_release(job: Publication, commit: str) -> bool:
    references = _references(job)
    if references.tags or references.head != commit:
        return False
    commits = job.connection.once(
        f"{job.repo_id}: list the commits of {MAIN}",
        lambda: job.connection.api.list_repo_commits(job.repo_id, revision=MAIN),
    )
    if len(commits) != 2:
        return False
    first = read_tree(job.connection, job.repo_id, commit_id(commits[-1].commit_id))
    return set(first) <= _WRITTEN_BY_THE_HUB


def tag_release(job: Publication, commit: str) -> None:
    """Tag a commit whose tree was compared with the release.

    Raises:
        HubError: `tag-exists`; the tag leads to another commit and is never moved.
    """

    def request() -> bool:
        job.connection.api.create_tag(
            job.repo_id, tag=job.tag, tag_message=job.summary, revision=commit
        )
        return True

    job.connection.settle(
        f"{job.repo_id}: create the tag {job.tag}",
        request,
        outcome=lambda: _is_tagged(job, commit) or None,
    )


def _is_tagged(job: Publication, commit: str) -> bool:
    found = _references(job).tags.get(job.tag)
    if found is not None and found != commit:
        raise tag_exists(job.repo_id, tag=job.tag, commit=found)
    return found is not None


def tag_exists(
    repo_id: str, *, tag: str, commit: str, names: Sequence[str] = ()
) -> HubError:
    """Return the error for a tag that stands for something else.

    Args:
        repo_id: Repository.
        tag: The tag that is taken.
        commit: Where it leads.
        names: Files of the release that are not, or not so, in that commit.
    """
    differing_files = f", which differs in {first_names(names)}" if names else ""
    return HubError(
        f"{repo_id}: the tag {tag} is on another commit, {commit[:12]}"
        f"{differing_files}",
        code="tag-exists",
        hint="a published tag is never moved: choose another tag in the definition",
    )


def _references(job: Publication) -> References:
    found = read_references(job.connection, job.repo_id)
    if found is None:
        raise HubError(
            f"{job.repo_id}: the repository is gone",
            code="hub-not-found",
            hint="see on the Hub whether it was renamed, deleted or made private",
        )
    return found
