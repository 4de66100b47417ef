"""What every step of a publish needs to know."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from release.errors import IntegrityError, first_names
from release.hub.client import HubConnection
from release.hub.fetch_back import BytesProgress
from release.hub.remote import ReleaseFile, RemoteFile, differing, read_tree

STAGING_PREFIX: Final = "staging/"

StepProgress = Callable[[str], None]
"""Called with what is about to be done, one line."""


@dataclass(frozen=True, slots=True)
class Publication:
    """A release on its way to a repository."""

    connection: HubConnection
    repo_id: str
    tag: str
    release_name: str
    summary: str
    files: tuple[ReleaseFile, ...]
    on_step: StepProgress
    on_bytes: BytesProgress

    @property
    def staging_branch(self) -> str:
        """The branch that nobody downloads from, where the release is assembled."""
        return STAGING_PREFIX + self.release_name

    @property
    def title(self) -> str:
        """First line of the one visible commit."""
        return f"Release {self.release_name}"

    def require_complete(self, revision: str) -> dict[str, RemoteFile]:
        """Return the tree of a revision after comparing it with the release.

        Raises:
            IntegrityError: Files are missing there, or are listed with other bytes.
        """
        tree = read_tree(self.connection, self.repo_id, revision)
        lacking = differing(tree, self.files)
        if lacking:
            missing = [file.name for file in lacking if file.name not in tree]
            other = [file.name for file in lacking if file.name in tree]
            kind = "missing" if missing else "other bytes"
            raise IntegrityError(
                f"{self.repo_id}: {revision}: {kind}: {first_names(missing or other)}",
                code="published-missing" if missing else "published-bytes",
                hint="look for a .gitignore in the repository that names the file"
                if missing
                else "run again",
            )
        return tree
