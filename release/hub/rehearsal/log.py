"""What the rehearsal Hub remembers of each request."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer."""

    request_id: str
    """Sent back as `X-Request-Id`; the client prints it in its errors."""
    method: str
    path: str
    """As on the wire: percent-quoted, without the query."""
    query: str
    range: str
    """The `Range` header, or empty."""
    has_token: bool
    """Whether the request carried an `Authorization` header."""
    status: int = 0
    """0 where the connection was closed without an answer."""
    request_bytes: int = 0
    """Bytes of the request's body that the Hub read."""
    response_bytes: int = 0
    """Bytes of the answer's body that were sent."""
