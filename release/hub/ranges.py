"""A file on a server, read by byte range: strictly, because the answers are foreign.

Source:
    RFC 9110, sections 14.2 to 14.4 (ranges), 15.3.7 (206) and 8.8.3 (ETag).
"""

import re
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Final, NoReturn, Self

import httpx2
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # has no __all__
    hf_raise_for_status,
)

from release.errors import HubError, visible
from release.hub.addresses import send
from release.hub.client import HubConnection
from release.numeric.digest import Bytes

_OPENINGS_MAX: Final = 20
"""Connections for one range, of which each but the last broke."""
_SLOWEST_NBYTES: Final = 10_000
"""Bytes a second, below which a server counts as hung."""
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})")
_TRANSIENT: Final = frozenset({408, 429})


@dataclass(slots=True)
class HttpRanges:
    """A file on a server; a `RangeSource` of the room `repair`.

    The address is asked again for every range: what it redirects to may be signed, and
    expire. Such addresses are never shown.

    Attributes:
        connection: Repeats what fails for a moment.
        url: The address that the user gave, or that the Hub's client makes.
        label: What it is called in a sentence; safe for a terminal, without secrets.
        nbytes: Size of the whole file.
        sha256: As the Hub states it.
        headers: Sent with every request; those that authorise, to this origin only.
        takes_whole: Whether the server is known to send only whole files.
    """

    connection: HubConnection
    url: str
    label: str
    nbytes: int
    sha256: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    takes_whole: bool = False
    _validator: str | None = None

    @classmethod
    def from_probe(
        cls, connection: HubConnection, url: str, label: str, response: httpx2.Response
    ) -> Self:
        """Return the file that answered when its first byte was asked for.

        To be used inside a `request`: it raises the client's exceptions, too.

        Args:
            connection: As the attribute.
            url: As the attribute.
            label: As the attribute.
            response: The answer; its body is not read.

        Raises:
            HubError: `source-refused`, or `range-answer` where the size is not said.
        """
        headers = response.headers
        found = range_of(headers)
        if response.status_code == 416 and headers.get("Content-Range") == "bytes */0":
            return cls(connection, url, label, 0)
        require_success(response, label=label)
        validator = _validator_of(headers)
        if response.status_code == 206 and found and found[:2] == (0, 1):
            return cls(connection, url, label, found[2], _validator=validator)
        length = headers.get("Content-Length", "")
        source = cls(connection, url, label, 0, takes_whole=True, _validator=validator)
        if response.status_code == 206 or not re.fullmatch(r"\d{1,19}", length):
            source._fail("range-answer", "does not say how large the file is")
        source.nbytes = int(length)
        return source

    def read_range(self, begin: int, end: int) -> Generator[Bytes, None, None]:
        """Yield exactly the bytes from `begin` to `end` (excluded), in order.

        A connection that breaks is opened anew where it broke.

        Raises:
            HubError: `range-ignored`, `range-refused`, `range-answer`,
                `source-changed`, `source-slow`, `source-broken`, `source-redirect`,
                `source-refused`, or as for any failure of the Hub.
        """
        if self.takes_whole and (begin, end) != (0, self.nbytes):
            self._refuse_whole()
        answer = _Answer(self, begin, end)
        try:
            while answer.position < end:
                yield self.connection.read(f"{self.label}: fetch", answer.next_block)
        finally:
            answer.close()

    def close(self) -> None:
        """Do nothing: connections are the session's."""

    def open(self, begin: int, end: int) -> httpx2.Response:
        """Ask for a range; the answer is one that holds it, and is not read yet.

        To be used inside a `request`: it raises the client's exceptions, too.
        """
        headers = {"Accept-Encoding": "identity", "Range": f"bytes={begin}-{end - 1}"}
        response = send(self.url, {**self.headers, **headers}, label=self.label)
        try:
            self._require_range(response, begin, end)
        except BaseException:
            response.close()
            raise
        return response

    def _require_range(self, response: httpx2.Response, begin: int, end: int) -> None:
        status, headers = response.status_code, response.headers
        if status == 416:
            self._fail("range-refused", f"has no bytes {begin:,} to {end:,} (HTTP 416)")
        require_success(response, label=self.label)
        if headers.get("Content-Encoding", "identity") != "identity":
            self._fail("range-answer", "sends the file compressed")
        if status == 200:
            if (begin, end) != (0, self.nbytes):
                self._refuse_whole()
        elif range_of(headers) != (begin, end, self.nbytes):
            got = headers.get("Content-Range", "none")
            self._fail(
                "range-answer",
                f"HTTP {status} with Content-Range {visible(got, 80)}, expected bytes "
                f"{begin}-{end - 1}/{self.nbytes}",
            )
        length = headers.get("Content-Length", str(end - begin))
        if length != str(end - begin):
            self._fail(
                "range-answer",
                f"sends {visible(length, 40)} bytes, expected {end - begin}",
            )
        self._require_unchanged(headers)

    def _require_unchanged(self, headers: Mapping[str, str]) -> None:
        """Compare what tells versions of the file apart with the first answer's."""
        validator = _validator_of(headers)
        if self._validator is None:
            self._validator = validator
        if validator != self._validator:
            self._fail(
                "source-changed",
                f"the file changed meanwhile: {visible(validator, 80)}, expected "
                f"{visible(self._validator, 80)}",
            )

    def _refuse_whole(self) -> NoReturn:
        self._fail(
            "range-ignored",
            "the server ignores ranges and sends the whole file (HTTP 200)",
            hint="pass --full to download all of it, or name another --from",
        )

    def _fail(self, code: str, reason: str, *, hint: str = "") -> NoReturn:
        raise HubError(
            f"{self.label}: {reason}; nothing was changed",
            code=code,
            hint=hint or "name another --from, or run the command again later",
        )

    def fail_slow(self) -> NoReturn:
        """Give up a server that sends next to nothing.

        Raises:
            HubError: `source-slow`.
        """
        self._fail("source-slow", f"sends less than {_SLOWEST_NBYTES:,} bytes a second")

    def fail_broken(self) -> NoReturn:
        """Give up a server that ends every connection early.

        Raises:
            HubError: `source-broken`.
        """
        self._fail("source-broken", f"broke off {_OPENINGS_MAX} times in one range")


class _Answer:
    """One range on its way: after a broken connection it goes on where it was."""

    def __init__(self, source: HttpRanges, begin: int, end: int) -> None:
        self.position = begin
        self._source = source
        self._end = end
        self._response: httpx2.Response | None = None
        self._blocks: Generator[bytes, None, None] | None = None
        self._start = (0.0, 0)
        self._n_openings = 0

    def next_block(self) -> bytes:
        """Return the next bytes, at least one."""
        try:
            return self._next()
        except BaseException:
            self.close()
            raise

    def _next(self) -> bytes:
        if self._response is None:
            if self._n_openings == _OPENINGS_MAX:
                self._source.fail_broken()
            self._n_openings += 1
            self._response = self._source.open(self.position, self._end)
            self._blocks = _raw(self._response)
            self._start = (time.monotonic(), self.position)
        if self._blocks is None:
            raise AssertionError
        for block in self._blocks:
            if block:
                self._require_speed()
                taken = block[: self._end - self.position]
                self.position += len(taken)
                return taken
        raise httpx2.RemoteProtocolError(
            f"ended {self._end - self.position:,} bytes early"
        )

    def _require_speed(self) -> None:
        begin, position = self._start
        seconds = time.monotonic() - begin
        patience = self._source.connection.timeout_seconds
        if seconds > patience + (self.position - position) / _SLOWEST_NBYTES:
            self._source.fail_slow()

    def close(self) -> None:
        """Drop the connection; the next block opens another one."""
        response, self._response, self._blocks = self._response, None, None
        if response is not None:
            response.close()


def _raw(response: httpx2.Response) -> Generator[bytes, None, None]:
    """Yield the body as it arrives, so that a trickle is seen."""
    yield from response.iter_raw()


def require_success(response: httpx2.Response, *, label: str) -> None:
    """Let 200 and 206 pass.

    Raises:
        HubError: `source-refused`; asking again would not help.
        httpx2.HTTPError: The server stumbles.
    """
    status = response.status_code
    if status in {200, 206}:
        return
    if status >= 500 or status in _TRANSIENT:
        hf_raise_for_status(response)
    raise HubError(
        f"{label}: HTTP {status} {visible(response.reason_phrase, 80)}; nothing was "
        "changed",
        code="source-refused",
        hint="check the address, and that you may read the file",
    )


def _validator_of(headers: Mapping[str, str]) -> str:
    """Return what tells versions of a file apart."""
    return headers.get("ETag") or headers.get("Last-Modified") or ""


def range_of(headers: Mapping[str, str]) -> tuple[int, int, int] | None:
    """Return begin, end (excluded) and total of a Content-Range, None for others."""
    found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
    return (int(found[1]), int(found[2]) + 1, int(found[3])) if found else None
