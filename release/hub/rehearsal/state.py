"""What all routes of one rehearsal Hub share; free of web framework and git."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from release.hub.rehearsal.accounts import AccountTable
from release.hub.rehearsal.limits import Limits
from release.hub.rehearsal.protocol import Pointer


@dataclass(frozen=True, slots=True)
class Upload:
    """A large file somebody was allowed to upload, under the ticket in its URLs."""

    repo_id: str
    pointer: Pointer
    n_parts: int
    """0 for an upload in one piece."""
    part_tags: dict[int, str] = field(default_factory=dict)
    """The `ETag` answered for each part received so far."""


@dataclass(frozen=True, slots=True)
class HubState:
    """The state of one Hub."""

    endpoint: str
    """`http://127.0.0.1:PORT`."""
    folder: Path
    """Of the repositories."""
    accounts: AccountTable
    limits: Limits
    clock: Callable[[], float]
    """Returns Unix seconds."""
    uploads: dict[str, Upload] = field(default_factory=dict)
    """Uploads allowed since the start, by ticket; kept, as clients repeat requests."""
