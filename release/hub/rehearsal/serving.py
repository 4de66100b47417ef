"""The web server of a rehearsal: the only module that knows uvicorn."""

from collections.abc import Callable
from typing import Final

import uvicorn
from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

from release.hub.rehearsal.app import build_app
from release.hub.rehearsal.faults import Faults
from release.hub.rehearsal.log import Exchange
from release.hub.rehearsal.state import HubState
from release.hub.rehearsal.wire import Wire

_PATIENCE_SECONDS: Final = 1


def build_server(
    hub: HubState, *, faults: Faults, log: Callable[[Exchange], None]
) -> uvicorn.Server:
    """Return a server that is silent, and can close the connection of a request.

    Args:
        hub: What is served.
        faults: Asked once per request.
        log: Called once per request.
    """

    def disconnect(scope: Scope) -> None:
        for connection in tuple(server.server_state.connections):
            if not isinstance(connection, H11Protocol):
                continue
            if connection.client == scope["client"]:
                connection.transport.close()

    config = uvicorn.Config(
        Wire(build_app(hub), faults=faults, log=log, disconnect=disconnect),
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=_PATIENCE_SECONDS,
    )
    server = uvicorn.Server(config)
    return server
