"""Addresses of files: which are asked, and where they may redirect to."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import get_session

from release.errors import HubError, UsageError, visible
from release.hub.client import is_loopback_host
from release.hub.failures import masked

_REDIRECTS_MAX: Final = 5


def require_address(url: str) -> None:
    """Refuse an address from which no file is fetched.

    Raises:
        UsageError: `url`; neither https, nor http on this machine.
    """
    with suppress(ValueError):
        parts = urlsplit(url)
        _ = parts.port  # raises where it is none
        is_safe = parts.scheme == "https" or is_loopback_host(parts.hostname)
        if parts.hostname and is_safe and url.isprintable():
            return
    raise UsageError(
        f"{masked(url)}: not an address that files are fetched from",
        code="url",
        hint="give a whole address that begins with https://; http:// is for servers "
        "on this machine",
    )


def send(url: str, headers: Mapping[str, str], *, label: str) -> httpx2.Response:
    """Send a GET and follow redirects, each looked at first; the body is not read.

    Headers that authorise stay with the first origin.

    Raises:
        HubError: `source-redirect`; too many, or to where no file is fetched from.
        httpx2.HTTPError: No answer.
    """
    client = get_session()
    request = client.build_request("GET", url, headers=dict(headers))
    for _ in range(_REDIRECTS_MAX + 1):
        response = client.send(request, stream=True, follow_redirects=False)
        if response.next_request is None:
            return response
        response.close()
        _require_followable(request.url, response.next_request.url, label=label)
        request = response.next_request
    raise _bad_redirect(label, f"redirects more than {_REDIRECTS_MAX} times")


def _require_followable(here: httpx2.URL, there: httpx2.URL, *, label: str) -> None:
    """Allow https, and http on this machine to go on on this machine.

    An answer from elsewhere must not make this machine ask its own services.
    """
    if there.scheme == here.scheme and there.host == here.host:
        return
    is_local = is_loopback_host(there.host)
    if there.scheme not in {"http", "https"} or (
        not is_loopback_host(here.host) if is_local else there.scheme == "http"
    ):
        where = visible(f"{there.scheme}://{there.host}", 300)
        raise _bad_redirect(label, f"redirects to {where}")


def _bad_redirect(label: str, reason: str) -> HubError:
    return HubError(
        f"{label}: {reason}, which is not followed; nothing was changed",
        code="source-redirect",
        hint="name the address of the file itself, by https",
    )
