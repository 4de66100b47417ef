"""One request on its way through the server: counted, and struck by its fault."""

import json
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from starlette.types import Message, Receive, Send

from release.hub.rehearsal.faults import Fault
from release.hub.rehearsal.log import Exchange

Header: TypeAlias = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Connection:
    """The client's end, as the web server hands it over."""

    receive: Receive
    send: Send
    close: Callable[[], None]
    """Closes the connection after flushing what was sent."""


class Passage:
    """Stands between the application and the connection, in both directions.

    Args:
        exchange: What is known of the request so far.
        fault: Strikes here as far as bodies and headers are concerned.
        connection: Where messages come from and go to.
        log: Called once, before the last byte of the answer is sent.
    """

    def __init__(
        self,
        exchange: Exchange,
        fault: Fault,
        *,
        connection: Connection,
        log: Callable[[Exchange], None],
    ) -> None:
        self._exchange = exchange
        self._fault = fault
        self._connection = connection
        self._log = log
        self._begun = False
        self._logged = False
        self._closed = False
        self._start: MutableMapping[str, Any] = {}
        self._held = b""
        self._n_received = 0
        self._n_sent = 0
        self._length = -1

    async def receive(self) -> Message:
        """Return the next message from the client."""
        if self._closed:
            return {"type": "http.disconnect"}
        message = await self._connection.receive()
        self._n_received += len(message.get("body", b""))
        limit = self._fault.cut_request_at
        if limit is not None and self._n_received >= limit:
            self._close(status=0)
            return {"type": "http.disconnect"}
        return message

    async def send(self, message: Message) -> None:
        """Pass on a message of the application, or what the fault makes of it."""
        if self._closed:
            return
        if message["type"] == "http.response.start":
            self._begin(message)
            return
        body = message.get("body", b"")
        is_last = not message.get("more_body", False)
        if self._fault.drop_response:
            if is_last:
                self._close(status=0)
        elif self._fault.rewrite is not None:
            self._held += body
            if is_last:
                await self._forward(self._rewritten(), is_last=True)
        else:
            await self._forward(body, is_last=is_last)

    def finish(self) -> None:
        """Log the request if no complete answer did so."""
        self._record(self._start.get("status", 0))

    def _begin(self, message: Message) -> None:
        omitted = self._fault.omit_header.lower().encode()
        headers: list[Header] = [
            (key, value) for key, value in message["headers"] if key.lower() != omitted
        ]
        headers.append((b"x-request-id", self._exchange.request_id.encode()))
        self._start = {**message, "headers": headers}
        self._length = int(dict(headers).get(b"content-length", -1))

    def _rewritten(self) -> bytes:
        change = self._fault.rewrite
        value = json.loads(self._held)
        body = json.dumps(change(value) if change else value).encode()
        kept = [pair for pair in self._start["headers"] if pair[0] != b"content-length"]
        self._start["headers"] = [*kept, (b"content-length", b"%d" % len(body))]
        return body

    async def _forward(self, body: bytes, *, is_last: bool) -> None:
        limit = self._fault.cut_response_at
        is_cut = limit is not None and self._n_sent + len(body) > limit
        if is_cut and limit is not None:
            body, is_last = body[: limit - self._n_sent], False
        self._n_sent += len(body)
        # The client may act on the answer as soon as its last byte is out.
        if is_last or self._n_sent == self._length:
            self._record(self._start["status"])
        if not self._begun:
            self._begun = True
            await self._connection.send(self._start)
        await self._connection.send(
            {"type": "http.response.body", "body": body, "more_body": not is_last}
        )
        if is_cut:
            self._close(status=self._start["status"])

    def _close(self, *, status: int) -> None:
        self._closed = True
        self._record(status)
        self._connection.close()

    def _record(self, status: int) -> None:
        if self._logged:
            return
        self._logged = True
        self._log(
            replace(
                self._exchange,
                status=status,
                request_bytes=self._n_received,
                response_bytes=self._n_sent,
            )
        )
