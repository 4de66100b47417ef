"""Retries, timeouts and silence of the connection to a Hub."""

import logging
import socket
import time
import warnings
from pathlib import Path

import pytest
from huggingface_hub import constants

from release.errors import HubError
from release.hub.client import HubConnection, connect
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


def test_read_is_repeated_until_the_hub_is_back(
    hub: RehearsalHub, connection: HubConnection, pauses: list[float]
) -> None:
    connection.api.create_repo(REPO)
    hub.faults.answer_status(REFS, 503, times=2)
    hub.faults.drop_response(REFS)

    list_refs(connection)

    assert pauses == [1.0, 2.0, 4.0]
    assert hub.faults.pending == 0


def test_read_gives_up_after_five_attempts(
    hub: RehearsalHub, connection: HubConnection
) -> None:
    hub.faults.answer_status(REFS, 503, times=9)

    failure(connection)

    assert hub.faults.pending == 4


def test_rate_limit_is_waited_for_as_long_as_the_hub_says(
    hub: RehearsalHub, connection: HubConnection, pauses: list[float]
) -> None:
    connection.api.create_repo(REPO)
    reset = {"RateLimit": '"api";r=0;t=55', "RateLimit-Policy": '"f";"api";q=1;w=300'}
    hub.faults.answer_status(REFS, 429, headers=reset)
    hub.faults.answer_status(REFS, 429, headers={"Retry-After": "7"})

    list_refs(connection)

    assert pauses == [56.0, 8.0]


def test_hostile_wait_is_bounded(
    hub: RehearsalHub, connection: HubConnection, pauses: list[float]
) -> None:
    connection.api.create_repo(REPO)
    hub.faults.answer_status(REFS, 429, headers={"Retry-After": "99999"})

    list_refs(connection)

    assert pauses == [330.0]


def test_write_is_not_repeated_blindly(
    hub: RehearsalHub, connection: HubConnection
) -> None:
    hub.faults.answer_status("POST /api/repos/create", 503, times=9)

    with pytest.raises(HubError) as caught:
        connection.once("create", lambda: connection.api.create_repo(REPO))

    assert caught.value.code == "hub-unavailable"
    assert hub.faults.pending == 8


def test_settled_write_is_repeated_only_if_it_did_not_happen(
    connection: HubConnection,
) -> None:
    outcomes = iter([None, "done"])
    n_calls = 0

    def write() -> str:
        nonlocal n_calls
        n_calls += 1
        raise ConnectionError("lost")

    answer = connection.settle("write", write, outcome=lambda: next(outcomes))

    assert (answer, n_calls) == ("done", 2)


def test_refused_write_is_not_looked_for(connection: HubConnection) -> None:
    def write() -> str:
        raise ValueError("bad name")

    def outcome() -> str:
        raise AssertionError

    with pytest.raises(HubError, match="bad name") as caught:
        connection.settle("write", write, outcome=outcome)

    assert caught.value.code == "hub-refused"


def test_missing_token_is_told_in_one_short_line(
    monkeypatch: pytest.MonkeyPatch, hub: RehearsalHub, tmp_path: Path
) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))

    with connect(hub.endpoint) as connection, pytest.raises(HubError) as caught:
        connection.read("who", connection.api.whoami)

    assert caught.value.code == "hub-token-missing"
    assert str(caught.value) == "who: no access token is configured"


def test_hub_that_never_answers_ends_in_a_timeout(hub: RehearsalHub) -> None:
    hub.faults.delay(REFS, seconds=60, times=9)
    begun = time.monotonic()

    with connect(
        hub.endpoint, hub.token, timeout_seconds=0.05, pause=lambda _: None
    ) as connection:
        error = failure(connection)

    assert time.monotonic() - begun < 5
    assert (error.code, error.retryable) == ("hub-unreachable", True)
    assert "no answer in time" in str(error)


def test_endpoint_where_nobody_listens_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"

    with connect(endpoint, CANARY, pause=lambda _: None) as connection:
        error = failure(connection)

    assert (error.code, error.retryable) == ("hub-unreachable", True)
    assert error.hint
    assert CANARY not in str(error)


@pytest.mark.parametrize("endpoint", ["ftp://hub", "huggingface.co", "http://", "::"])
def test_endpoint_that_is_no_address_is_refused(endpoint: str) -> None:
    with pytest.raises(HubError) as caught, connect(endpoint, CANARY):
        raise AssertionError

    assert caught.value.code == "hub-endpoint"


def test_offline_mode_stops_before_a_real_hub_but_not_before_loopback(
    monkeypatch: pytest.MonkeyPatch, hub: RehearsalHub
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    with pytest.raises(HubError) as caught, connect("https://hub.invalid", CANARY):
        raise AssertionError
    with connect(hub.endpoint, hub.token) as connection:
        name = connection.read("who", lambda: connection.api.whoami()["name"])

    assert caught.value.code == "hub-offline"
    assert name == "rehearsal"


def test_proxy_of_the_environment_does_not_catch_a_hub_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, hub: RehearsalHub
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)

    with connect(hub.endpoint, hub.token, pause=lambda _: None) as connection:
        name = connection.read("who", lambda: connection.api.whoami()["name"])

    assert name == "rehearsal"


def test_client_says_nothing_and_is_as_loud_as_before_afterwards(
    hub: RehearsalHub, capfd: pytest.CaptureFixture[str]
) -> None:
    level = logging.getLogger("huggingface_hub").level

    with connect(hub.endpoint, hub.token, pause=lambda _: None) as connection:
        connection.api.create_repo(REPO)
        hub.faults.answer_status(f"GET /api/models/{REPO}/tree/", 503)
        connection.once("tree", lambda: list(connection.api.list_repo_tree(REPO)))

    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("huggingface_hub").level == level


def test_warnings_of_the_client_are_collected_once_and_without_secrets(
    connection: HubConnection,
) -> None:
    def warn() -> None:
        warnings.warn(f"careful with {CANARY}", UserWarning, stacklevel=1)
        warnings.warn("for programmers", DeprecationWarning, stacklevel=1)

    connection.read("warn", warn)
    connection.read("warn", warn)

    assert connection.notices == ["careful with hf_***"]


def test_large_files_go_by_lfs_only_inside_the_connection(
    monkeypatch: pytest.MonkeyPatch, hub: RehearsalHub
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    seen = [constants.HF_HUB_DISABLE_XET]
    with connect(hub.endpoint, hub.token, lfs_only=True):
        seen.append(constants.HF_HUB_DISABLE_XET)
    seen.append(constants.HF_HUB_DISABLE_XET)

    assert seen == [False, True, False]
