"""What the user named, downloaded or opened where it is: on a disk or a Hub."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from release.errors import visible

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from release.claims.claim import Claim
    from release.repair.source import OpenSource

HUB_SCHEME: Final = "hf://"


def local_path(source: str, *, note: Callable[[str], None]) -> Path:
    """Return the path of what the user named, downloaded if it is on a Hub.

    Args:
        source: A path, or `hf://OWNER/REPO[@REVISION]/FILE`.
        note: Told what is being done, one line.

    Raises:
        UsageError: A reference of another form.
        HubError: The Hub does not have it, refuses, or cannot be reached.
        IntegrityError: A download is not what the Hub says it is.
    """
    if not source.startswith(HUB_SCHEME):
        return Path(source)
    from release.hub.client import connect
    from release.hub.reference import fetch_reference

    note(f"fetch {visible(source)}")
    with connect() as connection:
        return fetch_reference(connection, source)


def open_ranges(
    source: str,
    damaged: Path,
    claims: "Sequence[Claim]",
    *,
    note: Callable[[str], None],
) -> "AbstractContextManager[OpenSource]":
    """Return what the user named as a source of ranges, to be entered by `with`.

    Args:
        source: The path of a copy; where there is none, `OWNER/REPO[@REVISION]`,
            `hf://OWNER/REPO[@REVISION][/FILE]`, or an address.
        damaged: The file to repair.
        claims: What is said about it already.
        note: Told what is being asked, one line.

    Raises:
        UsageError: An address from which no file is fetched, or the file itself.
        InputError: There is no such copy, or it cannot be opened.
        IntegrityError: What lies beside the copy is not what its name promises.
        HubError: The server does not have it, refuses, or cannot be reached.
    """
    path = Path(source)
    if _exists(path):
        from release.repair.source import open_copy

        return open_copy(path, damaged, claims)
    from release.hub.range_sources import open_remote

    return open_remote(source, damaged, claims, note=note)


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except (OSError, ValueError):
        return False
    return True
