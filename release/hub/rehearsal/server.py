"""The rehearsal Hub as a thread of this process, bound to loopback."""

import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from release.errors import HubError, UsageError
from release.hub.rehearsal.accounts import Account, AccountTable, default_accounts
from release.hub.rehearsal.faults import Faults
from release.hub.rehearsal.limits import Limits
from release.hub.rehearsal.log import Exchange
from release.hub.rehearsal.state import HubState

if TYPE_CHECKING:
    import uvicorn

_HOST: Final = "127.0.0.1"
_START_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.002
_EXTRA_PACKAGES: Final = {"dulwich", "starlette", "uvicorn", "h11"}
_REPOSITORIES: Final = "repositories"


class RehearsalHub:
    """A Hub on 127.0.0.1 that keeps everything it is given below one folder.

    A context manager: entering starts it, leaving stops it, whatever happened between.
    Started again on the same folder it serves the same repositories.

    Args:
        root: Folder for all data; created if it does not exist.
        tokens: Accounts to know. None: those of `default_accounts`.
        limits: Sizes at which answers change.
        clock: Gives commit dates, in Unix seconds.
    """

    def __init__(
        self,
        root: Path,
        *,
        tokens: Sequence[Account] | None = None,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.accounts = tuple(default_accounts() if tokens is None else tokens)
        """The accounts, in the order given; of the default ones: one that may write
        everything, one that may only read, an expired and a scoped one."""
        self._table = AccountTable(self.accounts)
        self._folder = root / _REPOSITORIES
        self._limits = limits or Limits()
        self._clock = clock
        self._log: list[Exchange] = []
        self._thread: threading.Thread | None = None
        self._server: uvicorn.Server | None = None
        self._port = 0
        self.faults = Faults(self._folder, self._table)
        """Where a test plants faults."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def endpoint(self) -> str:
        """`http://127.0.0.1:PORT`, no slash at the end; known once started."""
        return f"http://{_HOST}:{self._port}"

    @property
    def token(self) -> str:
        """The token of the first account."""
        return self.accounts[0].token

    @property
    def requests(self) -> tuple[Exchange, ...]:
        """Every request so far, in the order of their answers."""
        return tuple(self._log)

    def git_directory(self, repo_id: str) -> Path:
        """Return the bare git repository of `namespace/name`."""
        return self._folder / f"{repo_id}.git"

    def start(self) -> None:
        """Bind a free port and serve it from a thread of this process.

        Raises:
            UsageError: The packages of the extra `rehearse` are not installed.
            HubError: The server did not come up.
        """
        build_server = _import_builder()
        listener = _listen()
        self._port = listener.getsockname()[1]
        state = HubState(
            endpoint=self.endpoint,
            folder=self._folder,
            accounts=self._table,
            limits=self._limits,
            clock=self._clock,
        )
        self._server = build_server(state, faults=self.faults, log=self._log.append)
        self._thread = threading.Thread(
            target=self._server.run,
            kwargs={"sockets": [listener]},
            name="rehearsal-hub",
            daemon=True,
        )
        self._thread.start()
        try:
            _await_start(self._server, self._thread)
        except BaseException:
            self.stop()
            listener.close()
            raise

    def stop(self) -> None:
        """Finish the requests under way, close all connections and join the thread.

        Requests that do not end within a second are cancelled. Does nothing on a Hub
        that is not running.
        """
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        self._thread.join(_STOP_SECONDS)
        self._server = self._thread = None


def _listen() -> socket.socket:
    # asyncio switches Nagle's delay off only where the protocol is named.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind((_HOST, 0))
    return listener


def _await_start(server: "uvicorn.Server", thread: threading.Thread) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not server.started:
        if time.monotonic() > deadline or not thread.is_alive():
            raise HubError(
                "the rehearsal Hub did not start",
                code="rehearsal-start",
                hint="run it again; loopback must be free to use for this program",
            )
        time.sleep(_POLL_SECONDS)


def _import_builder() -> "Callable[..., uvicorn.Server]":
    try:
        from release.hub.rehearsal.serving import build_server
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA_PACKAGES:
            raise
        raise UsageError(
            f"a rehearsal needs the package {error.name}, which is not installed",
            code="rehearse-extra-missing",
            hint='run: pip install "krelease[rehearse]"',
        ) from error
    return build_server
