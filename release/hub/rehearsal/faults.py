"""Faults a test plants in a rehearsal Hub: each strikes a few requests, then is spent.

A route is `METHOD /prefix`: the method, one blank, and the beginning of the path as it
is on the wire (still percent-quoted, without the query). Faults for one route strike in
the order they were planted, one per request.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from release.hub.rehearsal.accounts import AccountTable

if TYPE_CHECKING:
    from release.hub.rehearsal.repositories import Repositories

Rewrite: TypeAlias = Callable[[Any], object]
"""Takes the JSON answer the Hub would give, returns the one it gives."""
STRANGER: Final = "somebody-else"
"""Author, and name of the file, of commits made by `Faults.move_main`."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one request; the fields that are set apply together."""

    delay_seconds: float = 0.0
    """Wait before anything else; ends early when the Hub stops."""
    before: Callable[[], object] | None = None
    """Run on the Hub's thread before the request is handled."""
    status: int | None = None
    """Answer this instead of handling the request."""
    headers: tuple[tuple[str, str], ...] = ()
    """Headers of the answer with `status`."""
    cut_request_at: int | None = None
    """Close the connection once this many bytes of the body have arrived."""
    cut_response_at: int | None = None
    """Close the connection after this many bytes of the answer's body."""
    drop_response: bool = False
    """Handle the request, then close the connection without an answer."""
    rewrite: Rewrite | None = None
    """Change the JSON answer."""
    omit_header: str = ""
    """Leave this header out of the answer."""


@dataclass(slots=True)
class _Planted:
    route: str
    fault: Fault
    skip: int
    times: int


class Faults:
    """The faults planted in one Hub. Safe to use from any thread."""

    def __init__(self, folder: Path, accounts: AccountTable) -> None:
        self._folder = folder
        self._accounts = accounts
        self._planted: list[_Planted] = []
        self._lock = threading.Lock()

    def plant(self, route: str, fault: Fault, *, times: int = 1, skip: int = 0) -> None:
        """Let `fault` strike `times` requests to `route`, after `skip` spared ones."""
        with self._lock:
            self._planted.append(_Planted(route, fault, skip, times))

    @property
    def pending(self) -> int:
        """How many planted strikes have not happened yet."""
        with self._lock:
            return sum(planted.times for planted in self._planted)

    def clear(self) -> None:
        """Forget every planted fault."""
        with self._lock:
            self._planted.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault that strikes this request, if any, and count it."""
        with self._lock:
            for planted in self._planted:
                wanted, _, prefix = planted.route.partition(" ")
                if method != wanted or not path.startswith(prefix):
                    continue
                if planted.skip:
                    planted.skip -= 1
                    continue
                if planted.times:
                    planted.times -= 1
                    return planted.fault
        return None

    def answer_status(
        self,
        route: str,
        status: int,
        *,
        times: int = 1,
        skip: int = 0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer `status` instead of handling the request."""
        fault = Fault(status=status, headers=tuple((headers or {}).items()))
        self.plant(route, fault, times=times, skip=skip)

    def drop_response(self, route: str, *, times: int = 1, skip: int = 0) -> None:
        """Handle the request and lose the answer."""
        self.plant(route, Fault(drop_response=True), times=times, skip=skip)

    def cut_request(
        self, route: str, *, after_bytes: int, times: int = 1, skip: int = 0
    ) -> None:
        """Close the connection in the middle of the request's body."""
        self.plant(route, Fault(cut_request_at=after_bytes), times=times, skip=skip)

    def cut_response(
        self, route: str, *, after_bytes: int, times: int = 1, skip: int = 0
    ) -> None:
        """Close the connection in the middle of the answer's body."""
        self.plant(route, Fault(cut_response_at=after_bytes), times=times, skip=skip)

    def delay(
        self, route: str, *, seconds: float, times: int = 1, skip: int = 0
    ) -> None:
        """Answer late; a large number stands for never."""
        self.plant(route, Fault(delay_seconds=seconds), times=times, skip=skip)

    def rewrite(
        self, route: str, change: Rewrite, *, times: int = 1, skip: int = 0
    ) -> None:
        """Change a JSON answer: an LFS error, `shouldIgnore`, a missing member."""
        self.plant(route, Fault(rewrite=change), times=times, skip=skip)

    def omit_header(
        self, route: str, name: str, *, times: int = 1, skip: int = 0
    ) -> None:
        """Leave a header out of the answer, for one the `ETag` of an uploaded part."""
        self.plant(route, Fault(omit_header=name), times=times, skip=skip)

    def refuse_commit(self, repo_id: str, *, status: int = 503, times: int = 1) -> None:
        """Refuse commits although everything was uploaded."""
        self.answer_status(_commit_route(repo_id), status, times=times)

    def lose_commit_answer(self, repo_id: str) -> None:
        """Apply the next commit, then close the connection without an answer."""
        self.drop_response(_commit_route(repo_id))

    def move_main_before_commit(self, repo_id: str, *, skip: int = 0) -> None:
        """Let somebody else commit to main just before a commit is handled.

        Args:
            repo_id: The repository, which must exist when the fault strikes.
            skip: Commits let through first: 1 spares the one on a staging branch.
        """
        fault = Fault(before=lambda: self.move_main(repo_id))
        self.plant(_commit_route(repo_id), fault, skip=skip)

    def revoke_before_commit(self, repo_id: str, token: str, *, skip: int = 0) -> None:
        """Revoke a token between the uploads and the commit."""
        fault = Fault(before=lambda: self.revoke(token))
        self.plant(_commit_route(repo_id), fault, skip=skip)

    def revoke(self, token: str) -> None:
        """Make a token invalid now."""
        self._accounts.revoke(token)

    def move_main(self, repo_id: str) -> str:
        """Commit a file to main now, as somebody else would; return the commit's id."""
        from release.hub.rehearsal.protocol import AddFile, CommitRequest
        from release.hub.rehearsal.repository import Signature

        by = Signature(STRANGER, int(time.time()))
        with self._repositories().open(repo_id) as repository:
            head = repository.resolve("main")
            added = AddFile(f"{STRANGER}.txt", f"after {head}\n".encode())
            request = CommitRequest("Move main", "", head, (added,))
            return repository.commit("main", request, by=by)

    def flip_lfs_byte(self, repo_id: str, sha256: str, *, offset: int = 0) -> None:
        """Invert the bits of one stored byte of a large file."""
        path = self._repositories().large_file(repo_id, sha256)
        with path.open("r+b") as file:
            file.seek(offset)
            (value,) = file.read(1)
            file.seek(offset)
            file.write(bytes([value ^ 0xFF]))

    def truncate_lfs(self, repo_id: str, sha256: str, *, size: int) -> None:
        """Cut a stored large file to `size` bytes."""
        os.truncate(self._repositories().large_file(repo_id, sha256), size)

    def replace_lfs(self, repo_id: str, sha256: str, content: bytes) -> None:
        """Store other bytes under a large file's name."""
        self._repositories().large_file(repo_id, sha256).write_bytes(content)

    def _repositories(self) -> "Repositories":
        from release.hub.rehearsal.repositories import Repositories

        return Repositories(self._folder)


def _commit_route(repo_id: str) -> str:
    return f"POST /api/models/{repo_id}/commit/"
