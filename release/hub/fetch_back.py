"""Fetching published bytes back, hashed while they stream: nothing is kept on disk."""

from collections.abc import Callable, Sequence

from huggingface_hub import hf_hub_url

from release.errors import HubError, IntegrityError, visible
from release.hub.client import HubConnection
from release.hub.remote import ReleaseFile
from release.numeric.digest import Sha256

BytesProgress = Callable[[int, int], None]
"""Called with bytes done and bytes in all, of the step under way."""


def fetch_back(
    connection: HubConnection,
    repo_id: str,
    commit: str,
    files: Sequence[ReleaseFile],
    *,
    on_bytes: BytesProgress,
) -> None:
    """Download every file of a commit and compare it with what was meant.

    The names come from `files`, never from the Hub's listing, so a file that the Hub
    dropped is noticed. The bytes are hashed here, because neither the Hub's listing
    nor the client's size check proves what a downloader receives.

    Args:
        connection: Reads only.
        repo_id: Repository.
        commit: Commit id, not a branch, which could move meanwhile.
        files: What the commit must hold.
        on_bytes: Progress over all files together.

    Raises:
        IntegrityError: A file is missing or has other bytes.
        HubError: The Hub refuses or cannot be reached.
    """
    total = sum(file.nbytes for file in files)
    done = 0
    for file in files:
        download = _Download(connection, repo_id, commit, file)
        digest = download.run(on_bytes=_shifted(on_bytes, done, total))
        if digest != file.sha256:
            raise IntegrityError(
                f"{repo_id}: {visible(file.name)}: fetched back {download.n_bytes:,} "
                f"bytes with SHA-256 {digest}, expected {file.nbytes:,} with "
                f"{file.sha256}; nothing was published",
                code="published-bytes",
                hint="run again; if it stays, what the Hub stored is damaged",
            )
        done += file.nbytes


def _shifted(on_bytes: BytesProgress, before: int, total: int) -> Callable[[int], None]:
    return lambda n_bytes: on_bytes(before + n_bytes, total)


class _Download:
    """One file on its way: after a broken connection it goes on where it was."""

    def __init__(
        self, connection: HubConnection, repo_id: str, commit: str, file: ReleaseFile
    ) -> None:
        self.n_bytes = 0
        self._digest = Sha256()
        self._connection = connection
        self._repo_id = repo_id
        self._commit = commit
        self._file = file

    def run(self, *, on_bytes: Callable[[int], None]) -> str:
        """Return the SHA-256 of what the Hub sends, in hex."""
        doing = f"{self._repo_id}: fetch {visible(self._file.name)} back"
        try:
            self._connection.read(doing, lambda: self._receive(on_bytes))
        except HubError as error:
            if error.code != "hub-file-not-found":
                raise
            raise IntegrityError(
                f"{self._repo_id}: {visible(self._file.name)}: missing after the "
                "upload; nothing was published",
                code="published-missing",
                hint="look for a .gitignore in the repository that names the file",
            ) from error
        return self._digest.hexdigest()

    def _receive(self, on_bytes: Callable[[int], None]) -> None:
        if 0 < self._file.nbytes <= self.n_bytes:
            return
        with self._connection.stream(self._url(), start=self.n_bytes) as response:
            if self.n_bytes and response.status_code != 206:
                self.n_bytes, self._digest = 0, Sha256()
            for chunk in response.iter_bytes():
                self._digest.update(chunk)
                self.n_bytes += len(chunk)
                on_bytes(min(self.n_bytes, self._file.nbytes))
                if self.n_bytes > self._file.nbytes:
                    return

    def _url(self) -> str:
        return hf_hub_url(
            self._repo_id,
            self._file.name,
            revision=self._commit,
            endpoint=self._connection.endpoint,
        )
