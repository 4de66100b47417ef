"""The whole publish, uninterrupted and interrupted, against a Hub on loopback."""

from collections.abc import Callable

import pytest

from release.hub.client import HubConnection
from release.hub.rehearsal import RehearsalHub
from release.hub.remote import ReleaseFile
from release.hub.staged_release import PublishResult

Files = tuple[ReleaseFile, ...]
Git = Callable[..., str]
Publish = Callable[..., PublishResult]
Writes = Callable[..., list[str]]
Check = Callable[[Files], None]

REPO = "maker/gamma"
TAG = "rev2"
NAME = "gamma-rev2"
SUMMARY = "gamma rev2 = beta7 + 1.0 (anxl3 - anxl2)"
STEPS = (
    "ask the Hub whose token this is",
    "compare the release with the repository",
    "check the right to write",
    f"upload to the branch staging/{NAME}",
    "fetch every file back and hash it",
    "put the release on main",
    "let the history begin with the release",
    f"create the tag {TAG}",
    f"delete the branch staging/{NAME}",
)
PROMOTE = f"POST /api/models/{REPO}/commit/main"
STAGE = f"POST /api/models/{REPO}/commit/staging"


def killed_before(step: str) -> Callable[[str], None]:
    def on_step(begun: str) -> None:
        if begun == step:
            raise KeyboardInterrupt

    return on_step


def test_release_is_one_commit_with_a_tag(
    hub: RehearsalHub, publish: Publish, git: Git, files: Files, assert_published: Check
) -> None:
    steps: list[str] = []

    result = publish(files, on_step=steps.append)

    assert_published(files)
    assert git("log", "-1", "--format=%b", "main").strip() == SUMMARY
    assert git("tag", "-l", "--format=%(contents)", TAG).strip() == SUMMARY
    assert result.commit == git("rev-parse", "main").strip()
    assert result.url == f"{hub.endpoint}/{REPO}/tree/{TAG}"
    assert (result.n_uploaded, result.n_unchanged) == (5, 0)
    assert not result.already_published
    assert result.foreign == (".gitattributes",)
    assert result.warnings == ()
    assert tuple(steps) == STEPS


def test_progress_counts_every_byte_up_and_back(publish: Publish, files: Files) -> None:
    seen: list[tuple[int, int]] = []
    total = sum(file.nbytes for file in files)

    publish(files, on_bytes=lambda *progress: seen.append(progress))

    assert {in_all for _, in_all in seen} == {total}
    assert [done for done, _ in seen].count(total) == 2
    assert max(done for done, _ in seen) == total


def test_second_publish_only_reads(
    hub: RehearsalHub, publish: Publish, files: Files, writes: Writes
) -> None:
    first = publish(files)
    n_requests = len(hub.requests)

    second = publish(files)

    assert len(hub.requests) > n_requests
    assert writes(since=n_requests) == []
    assert second.already_published
    assert (second.commit, second.n_uploaded) == (first.commit, 0)


def test_published_release_stays_published_when_main_moves_on(
    hub: RehearsalHub, publish: Publish, git: Git, files: Files
) -> None:
    publish(files)
    hub.faults.move_main(REPO)
    before = git("for-each-ref")

    again = publish(files)

    assert again.already_published
    assert git("for-each-ref") == before


@pytest.mark.parametrize("step", STEPS)
def test_run_killed_before_any_step_leaves_main_whole_and_the_next_run_finishes(
    publish: Publish,
    git: Git,
    files: Files,
    assert_published: Check,
    step: int,
) -> None:
    with pytest.raises(KeyboardInterrupt):
        publish(files, on_step=killed_before(step))
    names = git("ls-tree", "-r", "--name-only", "main").splitlines()
    assert len(names) in {0, 1, 1 + len(files)}

    publish(files)

    assert_published(files)


def test_rerun_sends_no_large_file_twice(
    hub: RehearsalHub, publish: Publish, files: Files, writes: Writes
) -> None:
    with pytest.raises(KeyboardInterrupt):
        publish(files, on_step=killed_before(STEPS[4]))
    n_requests = len(hub.requests)

    result = publish(files)

    assert result.n_uploaded == 0
    assert [w for w in writes(since=n_requests) if w.startswith("PUT")] == []


def test_staging_branch_left_behind_by_a_finished_release_is_deleted(
    publish: Publish, files: Files, assert_published: Check
) -> None:
    with pytest.raises(KeyboardInterrupt):
        publish(files, on_step=killed_before(STEPS[-1]))

    result = publish(files)

    assert result.already_published
    assert_published(files)


def test_next_release_adds_one_commit_and_keeps_foreign_files(
    hub: RehearsalHub,
    publish: Publish,
    git: Git,
    files: Files,
    make_files: Callable[[int], Files],
) -> None:
    publish(files)
    hub.faults.move_main(REPO)
    newer = (*make_files(2)[1:], files[0])

    result = publish(newer, tag="rev3")

    titles = git("log", "--format=%s", "main").splitlines()
    assert titles == [f"Release {NAME}", "Move main", f"Release {NAME}"]
    assert (result.n_uploaded, result.n_unchanged) == (3, 2)
    assert result.foreign == (".gitattributes", "somebody-else.txt")
    assert git("rev-parse", "rev3^{commit}", "main").split()[0] == result.commit


def test_history_of_others_is_never_joined(
    hub: RehearsalHub,
    connection: HubConnection,
    publish: Publish,
    git: Git,
    files: Files,
) -> None:
    connection.api.create_repo(REPO)
    hub.faults.move_main(REPO)

    publish(files)

    titles = git("log", "--format=%s", "main").splitlines()
    assert titles == [f"Release {NAME}", "Move main", "initial commit"]


def test_history_is_kept_when_somebody_wrote_the_card_before(
    connection: HubConnection, publish: Publish, git: Git, files: Files
) -> None:
    connection.api.create_repo(REPO)
    connection.api.upload_file(
        path_or_fileobj=b"---\nlicense: mit\n---\n# Soon\n",
        path_in_repo="README.md",
        repo_id=REPO,
        commit_message="Announce",
    )

    publish(files)

    titles = git("log", "--format=%s", "main").splitlines()
    assert titles == [f"Release {NAME}", "Announce", "initial commit"]


@pytest.mark.parametrize(
    "route",
    [
        "POST /api/repos/create",
        f"POST /api/models/{REPO}/branch/",
        STAGE,
        PROMOTE,
        f"POST /api/models/{REPO}/super-squash/",
        f"POST /api/models/{REPO}/tag/",
    ],
)
def test_lost_answer_of_a_write_is_looked_up_not_repeated(
    hub: RehearsalHub,
    publish: Publish,
    files: Files,
    assert_published: Check,
    route: str,
) -> None:
    hub.faults.drop_response(route)

    publish(files)

    method, _, path = route.partition(" ")
    sent = [(seen.method, seen.path.startswith(path)) for seen in hub.requests]
    assert sent.count((method, True)) == 1
    assert_published(files)


def test_refused_commit_is_tried_again_on_the_same_parent(
    hub: RehearsalHub,
    publish: Publish,
    files: Files,
    pauses: list[float],
    assert_published: Check,
) -> None:
    hub.faults.answer_status(STAGE, 503)
    hub.faults.answer_status(PROMOTE, 500)
    hub.faults.answer_status(PROMOTE, 504)

    publish(files)

    assert hub.faults.pending == 0
    assert pauses == [1.0, 1.0, 2.0]
    assert_published(files)


def test_fetching_back_goes_on_where_the_connection_broke(
    hub: RehearsalHub, publish: Publish, files: Files, assert_published: Check
) -> None:
    hub.faults.cut_response(f"GET /{REPO}/resolve/", after_bytes=30_000)

    publish(files)

    ranges = [seen.range for seen in hub.requests if seen.range]
    assert len(ranges) == 1
    assert 0 < int(ranges[0].removeprefix("bytes=").removesuffix("-")) <= 30_000
    assert_published(files)


def test_what_the_hub_says_about_the_card_reaches_the_result(
    hub: RehearsalHub, publish: Publish, files: Files
) -> None:
    warning = {"errors": [], "warnings": [{"message": "empty metadata"}]}
    hub.faults.rewrite("POST /api/validate-yaml", lambda _: warning, times=2)

    result = publish(files)

    assert "empty metadata" in result.warnings[0]
