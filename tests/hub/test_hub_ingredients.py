"""Ingredients found on a Hub and downloaded from a pinned commit."""

from collections.abc import Callable
from hashlib import sha256  # noqa: TID251  # an oracle that is not our code
from pathlib import Path

import pytest

from release.errors import HubError, WriteError
from release.hub.client import HubConnection, connect
from release.hub.ingredients import HubFile, fetch_ingredient, resolve_ingredient
from release.hub.rehearsal import RehearsalHub
from release.hub.remote import ReleaseFile
from release.hub.staged_release import PublishResult

Publish = Callable[..., PublishResult]

REPO = "maker/gamma"


@pytest.fixture
def single(connection: HubConnection, tmp_path: Path) -> ReleaseFile:
    """A repository with one checkpoint at the top and one in a folder."""
    content = b"beta7" * 1000
    path = tmp_path / "beta7.safetensors"
    path.write_bytes(content)
    connection.api.create_repo(REPO)
    put(connection, content, name=path.name)
    put(connection, content, name="unet/model.safetensors")
    digest = sha256(content).hexdigest()
    return ReleaseFile(path, path.name, len(content), digest)


def put(connection: HubConnection, content: bytes, *, name: str) -> None:
    connection.once(
        "put",
        lambda: connection.api.upload_file(
            path_or_fileobj=content, path_in_repo=name, repo_id=REPO
        ),
    )


def code(connection: HubConnection, revision: str, file: str | None) -> str:
    with pytest.raises(HubError) as caught:
        resolve_ingredient(connection, REPO, revision, file)
    assert caught.value.hint
    return caught.value.code


def test_only_checkpoint_is_found_and_pinned(
    connection: HubConnection, single: ReleaseFile, git: Callable[..., str]
) -> None:
    found = resolve_ingredient(connection, REPO, "main", None)

    head = git("rev-parse", "main").strip()
    assert found == HubFile(REPO, head, single.name, single.nbytes, single.sha256)


def test_named_file_in_a_folder_is_found(
    connection: HubConnection, single: ReleaseFile
) -> None:
    found = resolve_ingredient(connection, REPO, "main", "unet/model.safetensors")

    assert found.file == "unet/model.safetensors"
    assert found.sha256 == single.sha256


def test_tag_and_short_commit_lead_to_the_same_commit(
    hub: RehearsalHub,
    connection: HubConnection,
    publish: Publish,
    files: tuple[ReleaseFile, ...],
) -> None:
    commit = publish(files).commit
    hub.faults.move_main(REPO)

    found = [
        resolve_ingredient(connection, REPO, revision, files[0].name).commit
        for revision in ("rev2", commit, commit[:8])
    ]

    assert found == [commit] * 3


def test_several_checkpoints_are_listed_with_what_to_write(
    connection: HubConnection, publish: Publish, files: tuple[ReleaseFile, ...]
) -> None:
    publish(files)

    with pytest.raises(HubError) as caught:
        resolve_ingredient(connection, REPO, "main", None)

    assert caught.value.code == "hub-file-ambiguous"
    assert files[0].name in str(caught.value)
    assert files[1].name in str(caught.value)
    assert f'file = "{files[0].name}"' in caught.value.hint


@pytest.mark.parametrize(
    ("revision", "file", "expected"),
    [
        ("nope", None, "hub-revision-not-found"),
        ("main", "nope.safetensors", "hub-file-not-found"),
        ("main", "unet", "hub-file-not-found"),
    ],
)
def test_what_is_not_there_is_named(
    connection: HubConnection,
    single: ReleaseFile,
    revision: str,
    file: str,
    expected: str,
) -> None:
    assert code(connection, revision, file) == expected


def test_repository_without_a_checkpoint_says_so(connection: HubConnection) -> None:
    connection.api.create_repo(REPO)

    assert code(connection, "main", None) == "hub-file-not-found"


def test_missing_repository_says_so(connection: HubConnection) -> None:
    assert code(connection, "main", None) == "hub-not-found"


def test_hub_that_never_answers_ends_in_a_timeout(hub: RehearsalHub) -> None:
    hub.faults.delay(f"GET /api/models/{REPO}/revision/", seconds=60, times=9)

    with connect(
        hub.endpoint, hub.token, timeout_seconds=0.05, pause=lambda _: None
    ) as connection:
        assert code(connection, "main", None) == "hub-unreachable"


def test_download_comes_from_the_pinned_commit_although_main_moved(
    connection: HubConnection, single: ReleaseFile, tmp_path: Path
) -> None:
    pinned = resolve_ingredient(connection, REPO, "main", None)
    put(connection, b"other bytes", name=single.name)

    path = fetch_ingredient(connection, pinned, cache_dir=tmp_path / "cache")

    assert path.read_bytes() == single.path.read_bytes()


def test_second_download_comes_from_the_cache(
    hub: RehearsalHub, connection: HubConnection, single: ReleaseFile, tmp_path: Path
) -> None:
    pinned = resolve_ingredient(connection, REPO, "main", None)
    first = fetch_ingredient(connection, pinned, cache_dir=tmp_path / "cache")
    n_requests = len(hub.requests)

    second = fetch_ingredient(connection, pinned, cache_dir=tmp_path / "cache")

    assert second == first
    assert len(hub.requests) == n_requests


def test_cache_that_cannot_be_written_is_a_write_error(
    connection: HubConnection, single: ReleaseFile, tmp_path: Path
) -> None:
    pinned = resolve_ingredient(connection, REPO, "main", None)
    (tmp_path / "cache").write_text("a file where a folder should be")

    with pytest.raises(WriteError):
        fetch_ingredient(connection, pinned, cache_dir=tmp_path / "cache")
