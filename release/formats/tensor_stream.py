"""Digests of a checkpoint's tensors, taken while its bytes go by in order."""

from collections.abc import Callable, Iterable

from release.formats.tensor import TensorEntry
from release.numeric.digest import Bytes, Xxh3Bits128


class TensorDigests:
    """XXH3-128 of each tensor of a stream of blocks, which begins with the header.

    Args:
        entries: The tensors in the order of their data, without holes.
        data_begin: Where the data section starts, in bytes from the start of the file.
        finished: Called with name and digest as soon as a tensor is complete; may raise
            to stop.
    """

    def __init__(
        self,
        entries: Iterable[TensorEntry],
        data_begin: int,
        finished: Callable[[str, str], None],
    ) -> None:
        self._spans = [
            (data_begin + entry.begin, data_begin + entry.end, entry.name)
            for entry in entries
        ]
        self._finished = finished
        self._number = 0
        self._position = 0
        self._digest = Xxh3Bits128()

    def update(self, data: Bytes) -> None:
        """Take the next block of the file into account."""
        block = memoryview(data)
        end = self._position + len(block)
        while self._number < len(self._spans):
            first, last, name = self._spans[self._number]
            begin = max(first, self._position)
            if begin >= end and last > end:
                break
            stop = min(last, end)
            self._digest.update(block[begin - self._position : stop - self._position])
            if last > end:
                break
            self._finished(name, self._digest.hexdigest())
            self._digest = Xxh3Bits128()
            self._number += 1
        self._position = end
