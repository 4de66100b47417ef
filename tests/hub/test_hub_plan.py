"""What a publish would change, found out by reading only."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from release.errors import InputError, UsageError
from release.hub.client import HubConnection
from release.hub.plan import plan_release, preview_release
from release.hub.rehearsal import RehearsalHub
from release.hub.remote import ReleaseFile, git_blob_id
from release.hub.staged_release import PublishResult

Files = tuple[ReleaseFile, ...]
Git = Callable[..., str]
Publish = Callable[..., PublishResult]
Writes = Callable[..., list[str]]

REPO = "maker/gamma"
TAG = "rev2"
FP16 = "gamma-rev2.fp16.safetensors"


def test_dry_run_plan_writes_nothing(
    hub: RehearsalHub, connection: HubConnection, files: Files, writes: Writes
) -> None:
    sizes = {file.name: file.nbytes for file in files} | {"later.zip": None}

    before = preview_release(connection, REPO, TAG, sizes)
    plan = plan_release(connection, REPO, TAG, files)

    assert writes() == []
    assert not hub.git_directory(REPO).exists()
    assert (before.repo_exists, before.tag_commit) == (False, None)
    assert before.account == "rehearsal"
    assert {file.state for file in before.files} == {"new"}
    assert (plan.repo_exists, plan.is_published) == (False, False)


def test_dry_run_says_what_would_be_replaced(
    hub: RehearsalHub,
    connection: HubConnection,
    publish: Publish,
    files: Files,
    writes: Writes,
) -> None:
    published = publish(files)
    n_requests = len(hub.requests)

    preview = preview_release(
        connection, REPO, TAG, {FP16: 12, "manifest.json": None, "extra.zip": 3}
    )

    assert writes(since=n_requests) == []
    assert preview.repo_exists
    assert preview.tag_commit == published.commit
    found = [(file.name, file.state, file.remote_nbytes) for file in preview.files]
    assert found == [
        (FP16, "replaced", 70_001),
        ("manifest.json", "replaced", 12),
        ("extra.zip", "new", None),
    ]
    assert "README.md" in preview.foreign


def test_plan_tells_unchanged_from_replaced_by_content(
    connection: HubConnection,
    publish: Publish,
    files: Files,
    make_files: Callable[[int], Files],
) -> None:
    publish(files)
    other = make_files(7)
    mixed = (files[0], other[1], files[2], other[3], other[4])

    plan = plan_release(connection, REPO, "rev3", mixed)

    states = [file.state for file in plan.files]
    assert states == ["unchanged", "replaced", "unchanged", "replaced", "replaced"]
    assert plan.n_unchanged == 2
    assert not plan.is_published


@pytest.mark.parametrize(
    "name", ["", ".", "../up", "/root", "a/../b", "a//b", ".git/config", "./a"]
)
def test_name_that_no_repository_can_hold_is_refused(
    hub: RehearsalHub, connection: HubConnection, files: Files, name: str
) -> None:
    with pytest.raises(UsageError) as caught:
        plan_release(connection, REPO, TAG, (replace(files[0], name=name),))

    assert caught.value.code == "release-file-name"
    assert hub.requests == ()


def test_name_given_twice_is_refused(connection: HubConnection, files: Files) -> None:
    with pytest.raises(UsageError, match="twice"):
        plan_release(connection, REPO, TAG, (files[0], files[0]))


def test_local_file_that_is_gone_or_has_changed_is_refused(
    connection: HubConnection, files: Files
) -> None:
    files[0].path.write_bytes(b"shorter")
    files[1].path.unlink()

    with pytest.raises(InputError, match="7 bytes"):
        plan_release(connection, REPO, TAG, files[:1])
    with pytest.raises(InputError, match="No such file"):
        plan_release(connection, REPO, TAG, files[1:2])


def test_blob_id_is_the_one_git_computes(
    connection: HubConnection, git: Git, files: Files
) -> None:
    connection.api.create_repo(REPO)
    by_git = git("hash-object", str(files[0].path)).strip()

    assert git_blob_id(files[0].path) == by_git
