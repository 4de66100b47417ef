"""What stops a publish, and that main is untouched then."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from release.errors import HubError, IntegrityError
from release.hub.client import HubConnection, connect
from release.hub.rehearsal import RehearsalHub
from release.hub.remote import ReleaseFile
from release.hub.staged_release import PublishResult, publish_release

Files = tuple[ReleaseFile, ...]
Git = Callable[..., str]
Publish = Callable[..., PublishResult]
Writes = Callable[..., list[str]]
Check = Callable[[Files], None]

REPO = "maker/gamma"
TAG = "rev2"
NAME = "gamma-rev2"
SUMMARY = "gamma rev2 = beta7 + 1.0 (anxl3 - anxl2)"
FETCHING_BACK = "fetch every file back and hash it"
PROMOTING = "put the release on main"
FP16 = "gamma-rev2.fp16.safetensors"
PROMOTE = f"POST /api/models/{REPO}/commit/main"
STAGE = f"POST /api/models/{REPO}/commit/staging"


def heads(git: Git) -> str:
    return git("for-each-ref", "refs/heads/main", "refs/tags")


def refused(publish: Publish, files: Files) -> HubError:
    with pytest.raises(HubError) as caught:
        publish(files)
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return caught.value


def over(connection: HubConnection) -> Publish:
    """Publish over another connection than that of the fixture."""
    return partial(
        publish_release,
        connection,
        REPO,
        TAG,
        release_name=NAME,
        summary=SUMMARY,
        on_step=lambda _: None,
        on_bytes=lambda *_: None,
    )


def acting_before(step: str, act: Callable[[], object]) -> Callable[[str], None]:
    def on_step(begun: str) -> None:
        if begun == step:
            act()

    return on_step


def test_refused_joining_is_a_warning(
    hub: RehearsalHub, publish: Publish, git: Git, files: Files
) -> None:
    hub.faults.answer_status(f"POST /api/models/{REPO}/super-squash/", 403)

    result = publish(files)

    assert "first commit stays" in result.warnings[0]
    assert git("rev-list", "--count", TAG) == "2\n"


def test_expired_token_is_refused(
    hub: RehearsalHub, files: Files, writes: Writes
) -> None:
    token = hub.accounts[2].token

    with connect(hub.endpoint, token, lfs_only=True) as connection:
        error = refused(over(connection), files)

    assert error.code == "hub-token-refused"
    assert token not in str(error)
    assert writes() == []


@pytest.mark.parametrize("exists", [True, False])
def test_read_only_token_is_refused_before_anything_is_sent(
    hub: RehearsalHub,
    connection: HubConnection,
    files: Files,
    writes: Writes,
    exists: bool,
) -> None:
    if exists:
        connection.api.create_repo(REPO)
    token = hub.accounts[1].token

    with connect(hub.endpoint, token, lfs_only=True) as reader:
        error = refused(over(reader), files)

    assert error.code == "hub-forbidden"
    assert token not in str(error)
    assert [w for w in writes() if w.startswith("PUT")] == []


def test_token_revoked_before_the_promotion_leaves_main_alone(
    files: Files, tmp_path: Path
) -> None:
    with (
        RehearsalHub(tmp_path / "hub") as hub,
        connect(hub.endpoint, hub.token, lfs_only=True) as connection,
    ):
        hub.faults.revoke_before_commit(REPO, hub.token, skip=1)

        error = refused(over(connection), files)
        head = (hub.git_directory(REPO) / "refs/heads/main").read_text().strip()
        log = connection.api.list_repo_commits(REPO, revision=head, token=False)

    assert error.code == "hub-token-refused"
    assert [commit.title for commit in log] == ["initial commit"]


def test_main_that_moved_since_the_plan_is_never_overwritten(
    hub: RehearsalHub, publish: Publish, git: Git, files: Files
) -> None:
    hub.faults.move_main_before_commit(REPO, skip=1)

    error = refused(publish, files)

    assert (error.code, error.retryable) == ("hub-moved", True)
    assert git("log", "-1", "--format=%s", "main") == "Move main\n"
    result = publish(files)
    assert result.foreign == (".gitattributes", "somebody-else.txt")


def test_tag_on_other_files_is_never_moved(
    connection: HubConnection,
    publish: Publish,
    git: Git,
    files: Files,
    writes: Writes,
) -> None:
    connection.api.create_repo(REPO)
    connection.api.create_tag(REPO, tag=TAG)
    before = heads(git)
    written = writes()

    error = refused(publish, files)

    assert error.code == "tag-exists"
    assert FP16 in str(error)
    assert heads(git) == before
    assert writes() == written


def test_tag_that_somebody_made_meanwhile_is_never_moved(
    connection: HubConnection, publish: Publish, git: Git, files: Files
) -> None:
    def make_tag() -> None:
        connection.api.create_tag(REPO, tag=TAG, revision="main")

    with pytest.raises(HubError) as caught:
        publish(files, on_step=acting_before(PROMOTING, make_tag))

    assert caught.value.code == "tag-exists"
    assert git("ls-tree", "--name-only", TAG) == ".gitattributes\n"


def test_byte_damaged_in_the_hubs_storage_stops_the_release(
    hub: RehearsalHub, publish: Publish, git: Git, files: Files
) -> None:
    def damage() -> None:
        hub.faults.flip_lfs_byte(REPO, files[0].sha256, offset=69_999)

    with pytest.raises(IntegrityError, match=FP16) as caught:
        publish(files, on_step=acting_before(FETCHING_BACK, damage))

    assert caught.value.code == "published-bytes"
    assert files[0].sha256 in str(caught.value)
    assert git("log", "--format=%s", "main") == "initial commit\n"
    assert git("tag") == ""


def test_file_cut_or_replaced_in_the_hubs_storage_stops_the_release(
    hub: RehearsalHub, publish: Publish, git: Git, files: Files
) -> None:
    def damage() -> None:
        hub.faults.replace_lfs(REPO, files[1].sha256, b"x" * 90_000)

    with pytest.raises(IntegrityError, match="fetched back"):
        publish(files, on_step=acting_before(FETCHING_BACK, damage))

    assert git("log", "--format=%s", "main") == "initial commit\n"


@pytest.mark.parametrize(
    "pattern",
    ["*.safetensors", "manifest.json", "*\n!.gitignore"],
    ids=["large", "small", "all"],
)
def test_file_that_a_gitignore_drops_is_noticed(
    connection: HubConnection,
    publish: Publish,
    git: Git,
    files: Files,
    pattern: str,
) -> None:
    connection.api.create_repo(REPO)
    connection.api.upload_file(
        path_or_fileobj=pattern.encode(), path_in_repo=".gitignore", repo_id=REPO
    )
    before = heads(git)
    steps: list[str] = []

    with pytest.raises(IntegrityError) as caught:
        publish(files, on_step=steps.append)

    assert caught.value.code == "published-missing"
    assert ".gitignore" in caught.value.hint
    assert FETCHING_BACK not in steps
    assert heads(git) == before


def test_wrong_digest_in_the_release_is_caught_before_main_changes(
    publish: Publish, git: Git, files: Files
) -> None:
    wrong = (*files[:-1], replace(files[-1], sha256="0" * 64))

    with pytest.raises(IntegrityError, match="manifest"):
        publish(wrong)

    assert git("log", "--format=%s", "main") == "initial commit\n"


def test_hub_that_stays_down_ends_with_a_retryable_error(
    hub: RehearsalHub, publish: Publish, git: Git, files: Files, assert_published: Check
) -> None:
    hub.faults.answer_status(PROMOTE, 503, times=5)

    error = refused(publish, files)

    assert (error.code, error.retryable) == ("hub-unavailable", True)
    assert git("log", "--format=%s", "main") == "initial commit\n"
    publish(files)
    assert_published(files)


def test_card_the_hub_does_not_accept_is_refused_before_the_upload(
    hub: RehearsalHub, publish: Publish, files: Files, writes: Writes
) -> None:
    route = "POST /api/validate-yaml"
    told = {"X-Error-Message": '"license" must be a known word'}
    hub.faults.answer_status(route, 400, headers=told)

    error = refused(publish, files)

    assert error.code == "hub-refused"
    assert "README.md" in str(error)
    assert "must be a known word" in str(error)
    assert [w for w in writes() if w.startswith("PUT")] == []


def test_staging_branch_that_cannot_be_deleted_is_a_warning(
    hub: RehearsalHub, publish: Publish, git: Git, files: Files
) -> None:
    hub.faults.answer_status(f"DELETE /api/models/{REPO}/branch/", 403)

    result = publish(files)

    assert "delete the branch" in result.warnings[0]
    assert git("rev-parse", TAG)


def test_branch_called_staging_is_named_in_the_error(
    hub: RehearsalHub, connection: HubConnection, publish: Publish, files: Files
) -> None:
    connection.api.create_repo(REPO)
    connection.api.create_branch(REPO, branch="staging")

    error = refused(publish, files)

    assert error.code == "hub-conflict"
    assert "staging" in str(error)


def test_token_is_in_no_message_of_a_failing_publish(
    hub: RehearsalHub, connection: HubConnection, publish: Publish, files: Files
) -> None:
    told = {"X-Error-Message": f"Bearer {hub.token} for {hub.endpoint}/x?sig=s3cr3t"}
    hub.faults.answer_status(STAGE, 403, headers=told)

    error = refused(publish, files)

    shown = f"{error} {error.hint} {connection.notices}"
    assert "Bearer ***" in shown
    assert hub.token not in shown
    assert "s3cr3t" not in shown
