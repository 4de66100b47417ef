"""What the user named, downloaded if it is on a Hub."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from release.errors import visible

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
