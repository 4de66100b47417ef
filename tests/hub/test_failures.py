"""What the client raises, told as one line without secrets."""

import errno
from pathlib import Path

import pytest

from release.errors import HubError, WriteError
from release.hub.client import HubConnection, connect
from release.hub.failures import masked
from release.hub.rehearsal import RehearsalHub

REPO = "maker/gamma"
REFS = f"GET /api/models/{REPO}/refs"
CANARY = "hf_CanaryCanaryCanaryCanaryCanary1234"


def list_refs(connection: HubConnection) -> object:
    return connection.read("refs", lambda: connection.api.list_repo_refs(REPO))


def failure(connection: HubConnection) -> HubError:
    with pytest.raises(HubError) as caught:
        list_refs(connection)
    return caught.value


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (400, "hub-refused", False),
        (401, "hub-token-refused", False),
        (403, "hub-forbidden", False),
        (404, "hub-not-found", False),
        (409, "hub-conflict", False),
        (412, "hub-moved", True),
        (413, "hub-refused", False),
        (429, "hub-rate-limited", True),
        (500, "hub-unavailable", True),
        (503, "hub-unavailable", True),
        (504, "hub-unavailable", True),
    ],
)
def test_each_status_has_its_own_code_and_a_hint(
    hub: RehearsalHub,
    connection: HubConnection,
    status: int,
    code: str,
    retryable: bool,
) -> None:
    hub.faults.answer_status(REFS, status, times=9)

    error = failure(connection)

    assert (error.code, error.retryable) == (code, retryable)
    assert error.hint
    assert "\n" not in str(error)
    assert str(status) in str(error)


def test_missing_repository_is_told_from_missing_revision_and_missing_file(
    connection: HubConnection, tmp_path: Path
) -> None:
    api = connection.api
    with pytest.raises(HubError) as no_repository:
        list_refs(connection)
    api.create_repo(REPO)
    with pytest.raises(HubError) as no_revision:
        connection.read("info", lambda: api.model_info(REPO, revision="gone"))
    with pytest.raises(HubError) as no_file:
        connection.once(
            "get",
            lambda: api.hf_hub_download(REPO, "gone.txt", cache_dir=tmp_path / "cache"),
        )

    codes = [caught.value.code for caught in (no_repository, no_revision, no_file)]
    assert codes == ["hub-not-found", "hub-revision-not-found", "hub-file-not-found"]


@pytest.mark.parametrize(
    ("foreign", "code"),
    [
        (PermissionError("token expired"), "hub-forbidden"),
        (ConnectionError("no Xet token"), "hub-unreachable"),
        (RuntimeError("the storage said no"), "hub-refused"),
        (KeyError("url"), "hub-answer"),
    ],
)
def test_plain_exceptions_of_the_client_are_sorted_too(
    connection: HubConnection, foreign: Exception, code: str
) -> None:
    def request() -> None:
        raise foreign

    with pytest.raises(HubError) as caught:
        connection.read("ask", request)

    assert caught.value.code == code


def test_disk_that_refuses_is_a_write_error(connection: HubConnection) -> None:
    def request() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(WriteError, match="No space left"):
        connection.read("download", request)


def test_answer_that_is_not_from_a_hub_is_named_as_that(
    hub: RehearsalHub, connection: HubConnection
) -> None:
    connection.api.create_repo(REPO)
    hub.faults.rewrite(REFS, lambda _: {"hello": "world"})

    error = failure(connection)

    assert error.code == "hub-answer"


def test_wrong_token_is_refused_and_not_shown(hub: RehearsalHub) -> None:
    with (
        connect(hub.endpoint, CANARY, pause=lambda _: None) as connection,
        pytest.raises(HubError) as caught,
    ):
        connection.read("who", connection.api.whoami)

    assert caught.value.code == "hub-token-refused"
    assert CANARY not in str(caught.value)
    assert CANARY not in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        f"401 for {CANARY}",
        f"Authorization: Bearer {CANARY}",
        "Authorization: bearer secret-of-another-form",
        "https://cdn.example/x?X-Amz-Signature=secret-of-another-form&a=1",
        "https://user:secret-of-another-form@hub.example/x",
        "jwt eyJsecret-of-another-form.eyJhbGciOiJI.c2lnbmF0dXJl",
        "opaque-token-value in the clear",
    ],
)
def test_secrets_are_masked_whatever_their_form(text: str) -> None:
    shown = masked(text, secret="opaque-token-value")  # noqa: S106

    assert "secret-of-another-form" not in shown
    assert "Canary" not in shown
    assert "opaque-token-value" not in shown
    assert "***" in shown


def test_ordinary_text_is_not_masked() -> None:
    text = "hf_hub_download: https://huggingface.co/maker/gamma/tree/main is empty"

    assert masked(text) == text


def test_token_that_the_hub_repeats_is_masked(
    hub: RehearsalHub, connection: HubConnection
) -> None:
    told = {"X-Error-Message": f"token {hub.token} may not"}
    hub.faults.answer_status(REFS, 403, headers=told)

    error = failure(connection)

    assert "may not" in str(error)
    assert hub.token not in str(error)
