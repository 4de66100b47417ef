"""Publishing a release as one visible change.

The bytes go to a staging branch and are fetched back and hashed there. Then one commit
puts them on main, a tag marks it, and the staging branch is deleted. Whatever stops
the run, main holds either the old files or the complete new ones, and the next run
finds out from the Hub alone what is left to do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from release.errors import HubError
from release.hub.client import HubConnection
from release.hub.fetch_back import BytesProgress, fetch_back
from release.hub.plan import HubPlan, account_name, foreign_names, plan_release
from release.hub.promotion import begin_history, promote, tag_exists, tag_release
from release.hub.publication import Publication, StepProgress
from release.hub.remote import ReleaseFile, read_references
from release.hub.staging import stage


@dataclass(frozen=True, slots=True)
class PublishResult:
    """A release as it is on the Hub."""

    repo_id: str
    commit: str
    """The commit of main that the tag leads to."""
    tag: str
    url: str
    """Page of the tagged files."""
    n_uploaded: int
    """Files sent by this run."""
    n_unchanged: int
    """Files that main held before."""
    already_published: bool
    """There was nothing to do."""
    foreign: tuple[str, ...]
    """Files at the tag that are not part of the release; they were kept."""
    warnings: tuple[str, ...]


def publish_release(  # noqa: PLR0913  # a release has that many parts
    connection: HubConnection,
    repo_id: str,
    tag: str,
    files: Sequence[ReleaseFile],
    *,
    release_name: str,
    summary: str,
    on_step: StepProgress,
    on_bytes: BytesProgress,
) -> PublishResult:
    """Bring a release to the Hub, or what is left of it after an interruption.

    Args:
        connection: Its token may write to the repository.
        repo_id: Repository as `namespace/name`; created, public, if it does not exist.
        tag: Git tag of the release; never moved once it exists.
        files: Everything the release consists of. Other files of the repository stay.
        release_name: Names the staging branch and the commit.
        summary: Body of the commit message and message of the tag.
        on_step: Told each step before it begins.
        on_bytes: Told the bytes done and in all, of uploading and of fetching back.

    Raises:
        HubError: `tag-exists`, `hub-moved`, `hub-forbidden` and whatever `failures`
            knows. Main is unchanged, or complete when only the tag failed.
        IntegrityError: What the Hub gives back is not what was sent.
        InputError: A local file is missing or is not as stated.
        UsageError: A file name that no repository can hold.
    """
    job = Publication(
        connection=connection,
        repo_id=repo_id,
        tag=tag,
        release_name=release_name,
        summary=summary,
        files=tuple(files),
        on_step=on_step,
        on_bytes=on_bytes,
    )
    on_step("ask the Hub whose token this is")
    account_name(connection)
    on_step("compare the release with the repository")
    plan = plan_release(connection, repo_id, tag, job.files)
    if plan.is_published and plan.tag_commit is not None:
        _remove_staging(job, plan)
        return _result(job, plan, commit=plan.tag_commit, n_uploaded=0)
    if plan.tag_commit is not None:
        raise tag_exists(repo_id, tag=tag, commit=plan.tag_commit, names=plan.tag_lacks)
    on_step("check the right to write")
    plan = _writable(job, plan)
    return _publish(job, plan)


def _writable(job: Publication, plan: HubPlan) -> HubPlan:
    """Create the repository if need be; return the plan for what is there now."""
    if plan.repo_exists:
        job.connection.read(
            f"{job.repo_id}: check the right to write",
            lambda: job.connection.api.auth_check(job.repo_id, write=True),
        )
        return plan

    def request() -> bool:
        job.connection.api.create_repo(job.repo_id, repo_type="model")
        return True

    job.connection.settle(
        f"{job.repo_id}: create the repository",
        request,
        outcome=lambda: (
            read_references(job.connection, job.repo_id) is not None or None
        ),
    )
    return plan_release(job.connection, job.repo_id, job.tag, job.files)


def _publish(job: Publication, plan: HubPlan) -> PublishResult:
    base = _head(plan)
    names = [file.name for file in plan.files if file.state != "unchanged"]
    source, n_uploaded = base, 0
    if names:
        job.on_step(f"upload to the branch {job.staging_branch}")
        staged = stage(job, base=base, tip=_staging_tip(job, plan))
        source, n_uploaded = staged.commit, staged.n_uploaded
    job.on_step("fetch every file back and hash it")
    fetch_back(job.connection, job.repo_id, source, job.files, on_bytes=job.on_bytes)
    commit = base
    if names:
        job.on_step("put the release on main")
        commit = promote(job, base=base, staged=source, names=names)
    commit = begin_history(job, commit)
    job.require_complete(commit)
    job.on_step(f"create the tag {job.tag}")
    tag_release(job, commit)
    _remove_staging(job, plan, made_one=bool(names))
    return _result(job, plan, commit=commit, n_uploaded=n_uploaded, done=True)


def _head(plan: HubPlan) -> str:
    if plan.head is None:
        raise HubError(
            f"{plan.repo_id}: the repository has no main branch",
            code="hub-no-main",
            hint="add any file on the repository's page, then run again",
        )
    return plan.head


def _staging_tip(job: Publication, plan: HubPlan) -> str | None:
    branches = plan.references.branches if plan.references else {}
    return branches.get(job.staging_branch)


def _remove_staging(job: Publication, plan: HubPlan, *, made_one: bool = False) -> None:
    """Delete the staging branch; the release is out, so failing is only a warning."""
    if not made_one and _staging_tip(job, plan) is None:
        return
    job.on_step(f"delete the branch {job.staging_branch}")
    try:
        job.connection.once(
            f"{job.repo_id}: delete the branch {job.staging_branch}",
            lambda: job.connection.api.delete_branch(
                job.repo_id, branch=job.staging_branch
            ),
        )
    except HubError as error:
        if error.code != "hub-revision-not-found":
            job.connection.notices.append(str(error))


def _result(
    job: Publication,
    plan: HubPlan,
    *,
    commit: str,
    n_uploaded: int,
    done: bool = False,
) -> PublishResult:
    """Look at the tag as a reader would, by its name, and report."""
    tree = job.require_complete(job.tag)
    return PublishResult(
        repo_id=job.repo_id,
        commit=commit,
        tag=job.tag,
        url=f"{job.connection.endpoint}/{job.repo_id}/tree/{job.tag}",
        n_uploaded=n_uploaded,
        n_unchanged=plan.n_unchanged,
        already_published=not done,
        foreign=foreign_names(tree, [file.name for file in job.files]),
        warnings=tuple(job.connection.notices),
    )
