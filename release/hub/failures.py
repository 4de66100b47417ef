"""What can go wrong between us and a Hub, told as one line without secrets.

This is the one place that knows the exceptions of huggingface_hub and of the HTTP
client under it. Everything above meets `HubError`.
"""

import re
from dataclasses import dataclass
from typing import Final

import httpx2
from huggingface_hub.errors import (
    DeviceCodeError,
    EntryNotFoundError,
    FileDuplicationError,
    GatedRepoError,
    HfHubHTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    OIDCError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
    XetDownloadError,
)

from release.errors import HubError, ReleaseError, WriteError, visible

FOREIGN: Final[tuple[type[Exception], ...]] = (
    httpx2.HTTPError,
    httpx2.InvalidURL,
    DeviceCodeError,
    EntryNotFoundError,
    FileDuplicationError,
    OIDCError,
    RevisionResolutionError,
    XetDownloadError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""Whatever a call of the client may raise; the plain ones come from strange answers."""

_TEXT_LIMIT: Final = 400
_MASK: Final = "***"
_SECRETS: Final = (
    (re.compile(r"hf_(?:[a-z]+_)?[A-Za-z0-9]{12,}[\w.-]*"), f"hf_{_MASK}"),
    (re.compile(r"eyJ[\w-]{8,}(?:\.[\w-]+)*"), _MASK),
    (re.compile(r"(?i)\bbearer\s+[^\s'\",;]+"), f"Bearer {_MASK}"),
    (re.compile(r"(https?://)[^\s/@'\"]+@"), rf"\1{_MASK}@"),
    (re.compile(r"(https?://[^\s?'\"]*)\?[^\s'\"]*"), rf"\1?{_MASK}"),
)


def masked(text: object, *, secret: str | None = None) -> str:
    """Return text without tokens, passwords and query strings, on one line.

    Args:
        text: Anything; `str()` is applied.
        secret: A token to remove wherever it stands, whatever its form.
    """
    shown = " ".join(str(text).split())
    if secret:
        shown = shown.replace(secret, _MASK)
    for pattern, replacement in _SECRETS:
        shown = pattern.sub(replacement, shown)
    return visible(shown, _TEXT_LIMIT)


@dataclass(frozen=True, slots=True)
class _Kind:
    code: str
    hint: str
    retryable: bool = False


_TOKEN: Final = _Kind(
    "hub-token-refused",
    "log in with `hf auth login`, or set HF_TOKEN to a valid token",
)
_NO_TOKEN: Final = _Kind(
    "hub-token-missing",
    "log in with `hf auth login`, or set HF_TOKEN to a token that may write",
)
_FORBIDDEN: Final = _Kind(
    "hub-forbidden",
    "use a token with write access to this repository and its namespace",
)
_GATED: Final = _Kind(
    "hub-gated", "accept the conditions on the repository's page, then run again"
)
_NO_REPO: Final = _Kind(
    "hub-not-found", "check the name; a private repository needs a token that reads it"
)
_NO_REVISION: Final = _Kind(
    "hub-revision-not-found", "check the branch, tag or commit on the repository's page"
)
_NO_FILE: Final = _Kind(
    "hub-file-not-found", "check the file name on the repository's page"
)
_CONFLICT: Final = _Kind(
    "hub-conflict", "it exists already; run again to go on from it"
)
MOVED: Final = _Kind(
    "hub-moved",
    "somebody else changed the repository meanwhile; run again to plan anew",
    retryable=True,
)
_REFUSED: Final = _Kind("hub-refused", "the Hub's own words are in the message")
_LIMITED: Final = _Kind(
    "hub-rate-limited", "wait a few minutes, then run again", retryable=True
)
_UNAVAILABLE: Final = _Kind(
    "hub-unavailable", "run again later; what was done is kept", retryable=True
)
_UNREACHABLE: Final = _Kind(
    "hub-unreachable",
    "check the network and the endpoint, then run again; what was done is kept",
    retryable=True,
)
_OFFLINE: Final = _Kind("hub-offline", "unset HF_HUB_OFFLINE, or rehearse instead")
_STRANGE: Final = _Kind(
    "hub-answer", "check that the endpoint is a Hub and that no proxy answers for it"
)

_BY_CLASS: Final[tuple[tuple[type[Exception], _Kind], ...]] = (
    (GatedRepoError, _GATED),
    (RepositoryNotFoundError, _NO_REPO),
    (RevisionNotFoundError, _NO_REVISION),
    (LocalTokenNotFoundError, _NO_TOKEN),
    (OIDCError, _TOKEN),
    (DeviceCodeError, _TOKEN),
    (OfflineModeIsEnabled, _OFFLINE),
    (RevisionResolutionError, _UNREACHABLE),
)
_BY_STATUS: Final = {
    401: _TOKEN,
    403: _FORBIDDEN,
    404: _NO_REPO,
    408: _UNAVAILABLE,
    409: _CONFLICT,
    412: MOVED,
    429: _LIMITED,
}


def failure_of(
    error: Exception, *, doing: str, secret: str | None = None
) -> ReleaseError:
    """Return the error to raise in place of a foreign one.

    Args:
        error: One of `FOREIGN`.
        doing: What was tried, as "ns/name: create the tag rev2".
        secret: The token in use; never part of the message.

    Returns:
        A `HubError`; for a local disk that refuses, a `WriteError`.
    """
    root = _root(error)
    if _is_local(root):
        return WriteError(
            f"{doing}: {masked(root, secret=secret)}",
            hint="check the rights and the free space of the Hub cache (HF_HOME)",
        )
    kind = _kind_of(root)
    reason = masked(_reason(root, error), secret=secret)
    return HubError(
        f"{doing}: {reason}", code=kind.code, hint=kind.hint, retryable=kind.retryable
    )


def head_moved(repo_id: str, *, planned: str, found: str) -> HubError:
    """Return the error for a main branch that is neither where it was nor ours."""
    return HubError(
        f"{repo_id}: main moved from {planned[:12]} to {found[:12]} since the plan, "
        "nothing was published",
        code=MOVED.code,
        hint=MOVED.hint,
        retryable=MOVED.retryable,
    )


def seconds_to_wait(error: Exception) -> float | None:
    """Return the wait a rate-limited answer asks for, None where it names none.

    Source:
        Hub documentation, "Rate limits": header `RateLimit: "api";r=0;t=55`.
        RFC 9110, section 10.2.3 (`Retry-After`, seconds form).
    """
    root = _root(error)
    if not isinstance(root, HfHubHTTPError):
        return None
    reset = re.search(r";t=(\d{1,5})", root.response.headers.get("RateLimit", ""))
    if reset:
        return float(reset[1])
    after = root.response.headers.get("Retry-After", "")
    return float(after) if re.fullmatch(r"\d{1,5}", after) else None


def _root(error: Exception) -> Exception:
    """The client wraps some refusals into RuntimeError, ValueError or a cache miss."""
    cause = error.__cause__
    if isinstance(error, httpx2.HTTPError) or not isinstance(cause, httpx2.HTTPError):
        return error
    return cause


def _is_local(error: Exception) -> bool:
    return (
        isinstance(error, OSError)
        and error.errno is not None
        and not isinstance(error, (httpx2.HTTPError, ConnectionError, TimeoutError))
    )


def _kind_of(error: Exception) -> _Kind:
    for foreign, kind in _BY_CLASS:
        if isinstance(error, foreign):
            return kind
    if isinstance(error, HfHubHTTPError):
        return _kind_of_status(error)
    if isinstance(error, EntryNotFoundError):
        return _NO_FILE
    if isinstance(error, (httpx2.HTTPError, ConnectionError, TimeoutError)):
        return _UNREACHABLE
    return _kind_of_plain(error)


def _kind_of_status(error: HfHubHTTPError) -> _Kind:
    if isinstance(error, EntryNotFoundError):
        return _NO_FILE
    status = error.response.status_code
    if status >= 500:
        return _UNAVAILABLE
    return _BY_STATUS.get(status, _REFUSED)


def _kind_of_plain(error: Exception) -> _Kind:
    if isinstance(error, PermissionError):
        return _FORBIDDEN
    if isinstance(error, (LookupError, TypeError, AttributeError)):
        return _STRANGE
    if isinstance(error, ValueError) and type(error).__name__ == "JSONDecodeError":
        return _STRANGE
    return _REFUSED


def _reason(root: Exception, error: Exception) -> str:
    if isinstance(root, HfHubHTTPError):
        status = f"HTTP {root.response.status_code} {root.response.reason_phrase}"
        return f"{status}: {root.server_message}" if root.server_message else status
    if isinstance(root, httpx2.TimeoutException):
        return "no answer in time"
    if isinstance(root, httpx2.HTTPError):
        return f"no connection: {root}" if str(root) else "the connection was closed"
    if isinstance(root, LocalTokenNotFoundError):
        return "no access token is configured"
    if _kind_of(root) is _STRANGE:
        return f"not an answer of a Hub ({type(error).__name__})"
    return str(error)
