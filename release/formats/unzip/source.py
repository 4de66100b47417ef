"""A descriptor read by position, for readers that have nothing else of the file."""

import os

from release.formats.refused import RefusedError


class Source:
    """The bytes of a regular file that is already open.

    Args:
        descriptor: Open for reading; stays owned by the caller.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.nbytes = os.fstat(descriptor).st_size

    def read(self, offset: int, nbytes: int) -> bytes:
        """Return exactly `nbytes` bytes from `offset`.

        Raises:
            RefusedError: `input-changed` when the file ends earlier, `read-failed`.
        """
        parts: list[bytes] = []
        while nbytes:
            try:
                part = os.pread(self._descriptor, nbytes, offset)
            except OSError as error:
                raise RefusedError(
                    "read-failed",
                    f"cannot be read at byte {offset:,}: {error.strerror}",
                ) from None
            if not part:
                raise RefusedError(
                    "input-changed",
                    f"ended at byte {offset:,}, expected {nbytes:,} bytes more",
                )
            parts.append(part)
            offset += len(part)
            nbytes -= len(part)
        return b"".join(parts)
