"""Reading a byte range from front to back, for digests."""

import threading
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from release.numeric.digest import Bytes

_BLOCK_NBYTES: Final = 2**20
"""What stays in a core's cache between reading and hashing."""

_local = threading.local()


class Source(Protocol):
    """What can be read by position: an input, or an output being read back."""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset` bytes after the start."""


class Digest(Protocol):
    """What bytes are added to."""

    def update(self, data: Bytes) -> None:
        """Append `data`."""


def blocks(source: Source, begin: int, end: int) -> Iterator[memoryview]:
    """Yield the bytes from `begin` to `end` (excluded).

    The buffer belongs to the thread and is used again: a block is valid until the next
    one, and until this thread begins another reading.
    """
    buffer = _buffer()
    for position in range(begin, end, _BLOCK_NBYTES):
        block = buffer[: min(_BLOCK_NBYTES, end - position)]
        source.read_into(position, block)
        yield block


def _buffer() -> memoryview:
    if not hasattr(_local, "buffer"):
        _local.buffer = memoryview(bytearray(_BLOCK_NBYTES))
    buffer: memoryview = _local.buffer
    return buffer


def scan(
    source: Source,
    begin: int,
    end: int,
    *digests: Digest,
    advance: Callable[[int], None] = lambda _: None,
) -> None:
    """Add the bytes from `begin` to `end` (excluded) to every digest, in one reading.

    Args:
        source: What is read.
        begin: First byte.
        end: Byte after the last one.
        digests: What the bytes are added to.
        advance: Called with the bytes of each block.
    """
    for block in blocks(source, begin, end):
        for digest in digests:
            digest.update(block)
        advance(len(block))
