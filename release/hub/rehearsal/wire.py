"""The outermost layer of the server: request ids, the request log, planted faults."""

import asyncio
import json
from collections.abc import Callable
from itertools import count

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from release.hub.rehearsal.faults import Fault, Faults
from release.hub.rehearsal.log import Exchange
from release.hub.rehearsal.passage import Connection, Passage

_NO_FAULT = Fault()


class Wire:
    """ASGI layer around the application.

    It also makes `scope["path"]` the path as sent: routes then match quoted segments,
    and `tree/staging%2Fx/unet%2Fc.json` stays unambiguous.

    Args:
        app: The application.
        faults: Asked once per request.
        log: Called once per request, before the last byte of its answer is sent.
        disconnect: Closes the connection of a request after flushing what was sent.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        faults: Faults,
        log: Callable[[Exchange], None],
        disconnect: Callable[[Scope], None],
    ) -> None:
        self._app = app
        self._faults = faults
        self._log = log
        self._disconnect = disconnect
        self._numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        path = scope["raw_path"].decode("latin-1")
        fault = self._faults.take(scope["method"], path) or _NO_FAULT
        passage = Passage(
            _exchange(scope, path, number=next(self._numbers)),
            fault,
            connection=Connection(receive, send, lambda: self._disconnect(scope)),
            log=self._log,
        )
        app = self._app if fault.status is None else _planted_answer(fault)
        try:
            await asyncio.sleep(fault.delay_seconds)
            if fault.before is not None:
                fault.before()
            await app({**scope, "path": path}, passage.receive, passage.send)
        except ClientDisconnect:
            return
        finally:
            passage.finish()


def _exchange(scope: Scope, path: str, *, number: int) -> Exchange:
    headers = {key: value.decode("latin-1") for key, value in scope["headers"]}
    return Exchange(
        request_id=f"rehearsal-{number:06}",
        method=scope["method"],
        path=path,
        query=scope["query_string"].decode("latin-1"),
        range=headers.get(b"range", ""),
        has_token=b"authorization" in headers,
    )


def _planted_answer(fault: Fault) -> ASGIApp:
    body = json.dumps({"error": f"Planted status {fault.status}"}).encode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        **dict(fault.headers),
    }
    pairs = [(key.lower().encode(), text.encode()) for key, text in headers.items()]

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body", False):
            pass
        await send(
            {"type": "http.response.start", "status": fault.status, "headers": pairs}
        )
        is_head = scope["method"] == "HEAD"
        await send({"type": "http.response.body", "body": b"" if is_head else body})

    return answer
