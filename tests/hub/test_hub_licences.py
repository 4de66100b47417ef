"""Licence texts of ingredients, read from their repositories at a pinned commit."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from huggingface_hub import CommitOperationAdd

from release.errors import HubError
from release.hub.client import HubConnection
from release.hub.ingredients import HubFile, resolve_ingredient
from release.hub.licences import fetch_licence
from release.licences.texts import LICENCE_NBYTES_MAX

REPO = "maker/gamma"


@pytest.fixture
def pin(connection: HubConnection) -> Callable[..., HubFile]:
    """Commit files beside a checkpoint, and return the checkpoint pinned."""
    connection.api.create_repo(REPO)

    def put(**files: bytes) -> HubFile:
        additions = [
            CommitOperationAdd(name.replace("__", "."), text)
            for name, text in {"model__safetensors": b"x" * 100, **files}.items()
        ]
        connection.once(
            "put",
            lambda: connection.api.create_commit(
                REPO, additions, commit_message="files"
            ),
        )
        return resolve_ingredient(connection, REPO, "main", None)

    return put


def test_text_is_read_from_the_commit_and_not_from_main(
    connection: HubConnection, pin: Callable[..., HubFile]
) -> None:
    pinned = pin(LICENSE=b"as it was\n")
    pin(LICENSE=b"as it is now\n")

    found = fetch_licence(connection, pinned)

    assert found is not None
    assert found.text == b"as it was\n"
    assert found.origin == f"{REPO}/LICENSE at {pinned.commit[:12]}"


def test_usual_name_goes_first(
    connection: HubConnection, pin: Callable[..., HubFile]
) -> None:
    pinned = pin(LICENSE__md=b"markdown", LICENSE=b"plain")

    found = fetch_licence(connection, pinned)

    assert found is not None
    assert found.text == b"plain"


def test_markdown_name_is_found_too(
    connection: HubConnection, pin: Callable[..., HubFile]
) -> None:
    found = fetch_licence(connection, pin(LICENSE__md=b"markdown"))

    assert found is not None
    assert found.text == b"markdown"


def test_repository_without_a_text_has_none(
    connection: HubConnection, pin: Callable[..., HubFile]
) -> None:
    assert fetch_licence(connection, pin(NOTICE=b"no licence")) is None


def test_text_that_never_ends_is_cut(
    connection: HubConnection, pin: Callable[..., HubFile]
) -> None:
    found = fetch_licence(connection, pin(LICENSE=b"x" * 3_000_000))

    assert found is not None
    assert len(found.text) == LICENCE_NBYTES_MAX + 1


def test_commit_that_is_gone_is_one_error(
    connection: HubConnection, pin: Callable[..., HubFile]
) -> None:
    with pytest.raises(HubError):
        fetch_licence(connection, replace(pin(), commit="0" * 40))
