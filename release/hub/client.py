"""The connection to a Hub: a quiet client with timeouts, retries and one error class.

Reads are repeated when the Hub or the network stumbles. Writes are not, because an
answer may be lost after the Hub did what was asked: `HubConnection.settle` looks first.
"""

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import (
    HfApi,
    close_session,
    constants,
    get_session,
    set_client_factory,
)
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # has no __all__
    build_hf_headers,
    disable_progress_bars,
    hf_raise_for_status,
)
from huggingface_hub.utils import logging as client_logging

from release.errors import HubError, visible
from release.hub.failures import FOREIGN, failure_of, masked, seconds_to_wait

T = TypeVar("T")

_PROGRAM: Final = "krelease"

WAITS_SECONDS: Final = (1.0, 2.0, 4.0, 8.0)
"""Pauses before the repetitions of a call."""
_LONGEST_WAIT_SECONDS: Final = 330.0
_TIMEOUT_SECONDS: Final = 75.0
"""The Hub itself ends a request after 60 seconds."""
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_MAYBE_DONE: Final = frozenset({"hub-conflict", "hub-moved"})


class HubConnection:
    """A Hub, the account that speaks to it, and how long to wait for it.

    Made by `connect`.
    """

    def __init__(
        self,
        api: HfApi,
        *,
        timeout_seconds: float,
        pause: Callable[[float], None],
    ) -> None:
        self.api: Final = api
        self.timeout_seconds: Final = timeout_seconds
        self.notices: Final[list[str]] = []
        """Warnings of the client and the Hub, in order, without secrets."""
        self._pause = pause

    @property
    def is_local(self) -> bool:
        """Whether the Hub is on this machine, so that nobody else sees what it gets."""
        return _is_loopback(self.endpoint)

    @property
    def endpoint(self) -> str:
        """Address of the Hub, without a final slash."""
        return self.api.endpoint

    @property
    def token(self) -> str | None:
        """The token given to `connect`; None means the client's own configuration."""
        return self.api.token if isinstance(self.api.token, str) else None

    def read(self, doing: str, request: Callable[[], T]) -> T:
        """Return the answer of a call that changes nothing, repeating it if needed.

        Args:
            doing: What is tried, for the message: "ns/name: list the branches".
            request: Calls the client, and nothing but the client.

        Raises:
            HubError: The last failure.
        """
        return self._call(doing, request, repeats=lambda error: error.retryable)

    def once(self, doing: str, request: Callable[[], T]) -> T:
        """Return the answer of a write, or of a call that the client repeats itself.

        It is repeated only when the Hub said that it did not look at it (429).

        Raises:
            HubError: The failure. What was asked may have happened nevertheless.
        """
        return self._call(doing, request, repeats=_was_not_looked_at)

    def settle(
        self, doing: str, request: Callable[[], T], *, outcome: Callable[[], T | None]
    ) -> T:
        """Return the answer of a write, or of finding that it has happened.

        Args:
            doing: As for `read`.
            request: The write.
            outcome: Reads what the write would have made; None if it is not there.

        Raises:
            HubError: The write failed and did not happen.
        """
        for wait in (*WAITS_SECONDS, None):
            try:
                return self.once(doing, request)
            except HubError as error:
                if not error.retryable and error.code not in _MAYBE_DONE:
                    raise
                found = outcome()
                if found is not None:
                    return found
                if wait is None or not error.retryable:
                    raise
                self._pause(wait)
        raise AssertionError

    def post(self, path: str, body: Mapping[str, str]) -> None:
        """Send JSON to an address of the Hub's API that the client has no call for.

        To be used inside a `request`: it raises the client's exceptions.
        """
        address = f"{self.endpoint}{path}"
        response = get_session().post(address, json=body, headers=self.headers())
        hf_raise_for_status(response)

    def ask(self, path: str, body: Mapping[str, str]) -> Any:  # JSON is any
        """Send JSON as `post` does, and return the JSON of the answer.

        What the Hub answers with 400 is returned too: it says what is wrong.
        """
        address = f"{self.endpoint}{path}"
        response = get_session().post(address, json=body, headers=self.headers())
        if response.status_code != HTTPStatus.BAD_REQUEST:
            hf_raise_for_status(response)
        return response.json()

    @contextmanager
    def stream(self, address: str, *, start: int) -> Iterator[httpx2.Response]:
        """Open a download from byte `start` on, uncompressed where the Hub agrees.

        To be used inside a `request`: it raises the client's exceptions.
        """
        headers = self.headers() | {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        with get_session().stream("GET", address, headers=headers) as response:
            hf_raise_for_status(response)
            yield response

    def headers(self) -> dict[str, str]:
        """Return the headers that tell the Hub who asks; for nobody else."""
        headers: dict[str, str] = build_hf_headers(
            token=self.api.token, library_name=_PROGRAM
        )
        return headers

    def _call(
        self,
        doing: str,
        request: Callable[[], T],
        *,
        repeats: Callable[[HubError], bool],
    ) -> T:
        for wait in (*WAITS_SECONDS, None):
            try:
                with self._collected_warnings():
                    return request()
            except FOREIGN as error:
                failure = failure_of(error, doing=doing, secret=self.token)
                again = isinstance(failure, HubError) and repeats(failure)
                if wait is None or not again:
                    raise failure from error
                asked = seconds_to_wait(error)
            self._pause(wait if asked is None else _bounded(asked))
        raise AssertionError

    @contextmanager
    def _collected_warnings(self) -> Iterator[None]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                yield
            finally:
                self._note(caught)

    def _note(self, caught: list[warnings.WarningMessage]) -> None:
        """Deprecations are for whoever maintains the client, not for its user."""
        for item in caught:
            text = masked(item.message, secret=self.token)
            is_for_users = not issubclass(item.category, DeprecationWarning)
            if is_for_users and text not in self.notices:
                self.notices.append(text)


def _was_not_looked_at(error: HubError) -> bool:
    return error.code == "hub-rate-limited"


def _bounded(seconds: float) -> float:
    return min(seconds + 1.0, _LONGEST_WAIT_SECONDS)


@contextmanager
def connect(
    endpoint: str | None = None,
    token: str | None = None,
    *,
    lfs_only: bool = False,
    timeout_seconds: float = _TIMEOUT_SECONDS,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[HubConnection]:
    """Open a connection; use it in a `with` statement.

    Inside, the client is silent: no progress bars, no log lines, no telemetry. These
    are settings of the process, so one connection at a time.

    Args:
        endpoint: Address of the Hub; None for what the client is configured with.
        token: Access token; None for what the client is configured with.
        lfs_only: Move large files by git-lfs even where Xet is installed.
        timeout_seconds: Longest silence of the Hub before the call fails.
        pause: Sleeps that many seconds between repetitions.

    Raises:
        HubError: `hub-endpoint` for an address that is not http(s), `hub-offline` when
            the client is told to stay offline and the Hub is not on this machine.
    """
    address = (endpoint or constants.ENDPOINT).rstrip("/")
    is_local = _is_loopback(address)
    if constants.is_offline_mode() and not is_local:
        raise HubError(
            f"{masked(address)}: the Hub client is in offline mode",
            code="hub-offline",
            hint="unset HF_HUB_OFFLINE, or rehearse instead",
        )
    api = HfApi(endpoint=address, token=token, library_name=_PROGRAM)
    with _settings(lfs_only=lfs_only), _silence():
        set_client_factory(
            lambda: _new_client(timeout_seconds, through_proxies=not is_local)
        )
        try:
            yield HubConnection(api, timeout_seconds=timeout_seconds, pause=pause)
        finally:
            close_session()


def is_loopback_host(host: str | None) -> bool:
    """Return whether a host's name or number says that it is this machine."""
    return host in _LOOPBACK


def _is_loopback(address: str) -> bool:
    with suppress(ValueError):
        parts = urlsplit(address)
        if parts.scheme in {"http", "https"} and parts.hostname:
            return is_loopback_host(parts.hostname)
    raise HubError(
        f"{visible(masked(address))}: not the address of a Hub",
        code="hub-endpoint",
        hint="give a whole address such as https://huggingface.co",
    )


def _new_client(timeout_seconds: float, *, through_proxies: bool) -> httpx2.Client:
    """Proxy settings of the environment must not catch a Hub on this machine."""
    return httpx2.Client(
        follow_redirects=True,
        timeout=httpx2.Timeout(timeout_seconds, connect=min(20.0, timeout_seconds)),
        trust_env=through_proxies,
    )


@contextmanager
def _settings(*, lfs_only: bool) -> Iterator[None]:
    """The client reads these two constants at each call, not only at import.

    With telemetry on it would ask huggingface.co which program runs it, also when the
    endpoint is another one.
    """
    before = (constants.HF_HUB_DISABLE_XET, constants.HF_HUB_DISABLE_TELEMETRY)
    constants.HF_HUB_DISABLE_XET = lfs_only or constants.HF_HUB_DISABLE_XET
    constants.HF_HUB_DISABLE_TELEMETRY = True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_XET, constants.HF_HUB_DISABLE_TELEMETRY = before


@contextmanager
def _silence() -> Iterator[None]:
    verbosity = client_logging.get_verbosity()
    client_logging.set_verbosity(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bars = disable_progress_bars()
    try:
        with bars:
            yield
    finally:
        client_logging.set_verbosity(verbosity)
