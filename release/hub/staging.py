"""Bringing the bytes to the Hub where nobody sees them: the staging branch."""

from dataclasses import dataclass

from huggingface_hub import CommitOperationAdd

from release.errors import InputError
from release.hub.publication import Publication
from release.hub.remote import ReleaseFile, differing, read_references, read_tree
from release.manifest import CARD_NAME


@dataclass(frozen=True, slots=True)
class Staged:
    """The commit of the staging branch that holds the whole release."""

    commit: str
    n_uploaded: int
    """Files sent by this run; the others were there already."""


def stage(job: Publication, *, base: str, tip: str | None) -> Staged:
    """Make a commit on the staging branch that holds every file of the release.

    A branch that an interrupted run left is used on; objects it uploaded are not sent
    again. Main does not change.

    Args:
        job: The publication.
        base: Commit the branch begins at if it does not exist.
        tip: Commit of the branch if it exists.

    Raises:
        HubError: The Hub refuses or cannot be reached.
        IntegrityError: The Hub dropped a file from the commit.
        InputError: A local file cannot be read.
    """
    if tip is None:
        tip = _create_branch(job, base=base)
    lacking = differing(read_tree(job.connection, job.repo_id, tip), job.files)
    if not lacking:
        return Staged(tip, n_uploaded=0)
    _check_card(job, lacking)
    commit = _commit(job, _upload(job, lacking))
    job.require_complete(commit)
    return Staged(commit, n_uploaded=len(lacking))


def _create_branch(job: Publication, *, base: str) -> str:
    def request() -> str:
        job.connection.api.create_branch(
            job.repo_id, branch=job.staging_branch, revision=base
        )
        return base

    return job.connection.settle(
        f"{job.repo_id}: create the branch {job.staging_branch}",
        request,
        outcome=lambda: _tip(job),
    )


def _tip(job: Publication) -> str | None:
    references = read_references(job.connection, job.repo_id)
    return references.branches.get(job.staging_branch) if references else None


def _check_card(job: Publication, files: tuple[ReleaseFile, ...]) -> None:
    """Let the Hub read the card's metadata now, not after gigabytes were sent."""
    card = next((file for file in files if file.name == CARD_NAME), None)
    if card is None:
        return
    try:
        content = card.path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            card.path,
            "cannot be read as UTF-8 text",
            hint="build the release again",
        ) from error

    job.connection.read(
        f"{job.repo_id}: check the metadata of {CARD_NAME}",
        lambda: job.connection.post(
            "/api/validate-yaml", {"content": content, "repoType": "model"}
        ),
    )


def _upload(
    job: Publication, files: tuple[ReleaseFile, ...]
) -> list[CommitOperationAdd]:
    """Send large files one after the other; small ones travel inside the commit."""
    total = sum(file.nbytes for file in files)
    done = 0
    operations = []
    for file in files:
        operation = CommitOperationAdd(file.name, str(file.path))
        # The digest is known: without this the client reads the file once more.
        operation.upload_info.sha256 = bytes.fromhex(file.sha256)
        _upload_one(job, operation)
        operations.append(operation)
        done += file.nbytes
        job.on_bytes(done, total)
    return operations


def _upload_one(job: Publication, operation: CommitOperationAdd) -> None:
    job.connection.once(
        f"{job.repo_id}: upload {operation.path_in_repo}",
        lambda: job.connection.api.preupload_lfs_files(
            job.repo_id,
            additions=[operation],
            revision=job.staging_branch,
            free_memory=False,
        ),
    )


def _commit(job: Publication, operations: list[CommitOperationAdd]) -> str:
    def request() -> str:
        return job.connection.api.create_commit(
            job.repo_id,
            operations=operations,
            commit_message=f"Stage {job.release_name}",
            revision=job.staging_branch,
        ).oid

    return job.connection.settle(
        f"{job.repo_id}: commit to {job.staging_branch}",
        request,
        outcome=lambda: _complete_tip(job),
    )


def _complete_tip(job: Publication) -> str | None:
    tip = _tip(job)
    if tip is None:
        return None
    tree = read_tree(job.connection, job.repo_id, tip)
    return None if differing(tree, job.files) else tip
