"""The large files of one repository: stored by SHA-256, hashed while they arrive.

Layout, the one git-lfs uses beside a git repository:

    objects/ab/cd/abcd…     complete objects, named by their SHA-256
    incomplete/             uploads under way, under names nobody asks for
"""

import secrets
from pathlib import Path
from typing import Self

from release.hub.rehearsal.protocol import Pointer, RefusedError
from release.numeric.digest import Sha256


class LargeFiles:
    """Complete objects and uploads under way, below one folder."""

    def __init__(self, folder: Path) -> None:
        self._objects = folder / "objects"
        self._incomplete = folder / "incomplete"

    def path(self, sha256: str) -> Path:
        """Return where the object of that digest is, or would be."""
        return self._objects / sha256[:2] / sha256[2:4] / sha256

    def size(self, sha256: str) -> int | None:
        """Return the bytes of a complete object, None if there is none."""
        path = self.path(sha256)
        return path.stat().st_size if path.is_file() else None

    def part_path(self, ticket: str, number: int) -> Path:
        """Return the file of one part of a multipart upload."""
        self._incomplete.mkdir(parents=True, exist_ok=True)
        return self._incomplete / f"{ticket}.{number}"

    def receive(self, pointer: Pointer) -> "Incoming":
        """Begin an upload of the object `pointer` describes."""
        return Incoming(
            pointer=pointer,
            temporary=self.part_path(secrets.token_hex(8), 0),
            final=self.path(pointer.sha256),
        )


class Incoming:
    """One upload: hashed while written, visible only when complete and right.

    A context manager; leaving it without `finish` leaves nothing behind.
    """

    def __init__(self, *, pointer: Pointer, temporary: Path, final: Path) -> None:
        self._pointer = pointer
        self._temporary = temporary
        self._final = final
        self._file = temporary.open("xb")
        self._digest = Sha256()
        self._n_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    def write(self, chunk: bytes) -> None:
        """Append bytes. Raises RefusedError (400) for more than announced."""
        self._n_bytes += len(chunk)
        if self._n_bytes > self._pointer.size:
            raise RefusedError(
                400, f"More than the announced {self._pointer.size} bytes"
            )
        self._digest.update(chunk)
        self._file.write(chunk)

    def finish(self) -> None:
        """Make the object visible. Raises RefusedError (400) for other bytes."""
        found = Pointer(self._digest.hexdigest(), self._n_bytes)
        if found != self._pointer:
            raise RefusedError(
                400,
                f"Uploaded {found.size} bytes with SHA-256 {found.sha256}, announced "
                f"{self._pointer.size} bytes with {self._pointer.sha256}",
            )
        self._file.close()
        self._final.parent.mkdir(parents=True, exist_ok=True)
        self._temporary.replace(self._final)
