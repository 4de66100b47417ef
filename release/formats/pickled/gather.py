"""Tensors that are not one range of their record: transposed, strided, expanded.

The bytes that such a view spans are held in memory, of one tensor at a time, and every
reading picks its elements from them. `check_view` has bounded them.
"""

import threading
import time
from typing import Final

from release.formats.pickled.records import VerifiedRecords
from release.formats.pickled.views import View

_IDLE_SECONDS: Final = 0.2
"""A tensor that nobody has read for so long was given up by its reader."""


class Gatherer:
    """Reads views that are not contiguous; several threads may do so at once.

    Args:
        records: Where the bytes come from.
    """

    def __init__(self, records: VerifiedRecords) -> None:
        self._records = records
        self._condition = threading.Condition()
        self._view: View | None = None
        self._spanned = bytearray()
        self._last_used = 0.0

    def read_into(self, view: View, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset` bytes inside the tensor.

        Whole elements only: offset and length are multiples of the element's size.

        Raises:
            InputError: The file changed or cannot be read.
            CheckpointError: `crc`.
        """
        with self._condition:
            self._hold(view)
            begin = offset // view.itemsize
            end = begin + buffer.nbytes // view.itemsize
            buffer[:] = _pick(view, self._spanned, begin, end)
            self._last_used = time.monotonic()
            if offset + buffer.nbytes == view.nbytes:
                self._release()

    def _hold(self, view: View) -> None:
        """Bring the bytes of `view` to memory, after the one before is finished."""
        while self._view not in {None, view}:
            idle = time.monotonic() - self._last_used
            if idle >= _IDLE_SECONDS:
                self._release()
            else:
                self._condition.wait(_IDLE_SECONDS - idle)
        if self._view is None:
            begin, end = view.span
            self._spanned = bytearray(end - begin)
            self._records.read_into(view.record, begin, memoryview(self._spanned))
            self._view = view

    def _release(self) -> None:
        self._view = None
        self._spanned = bytearray()
        self._condition.notify_all()


def _pick(view: View, spanned: bytearray, begin: int, end: int) -> bytes:
    """Return the elements from `begin` to `end` (excluded) in the tensor's order."""
    import numpy as np

    elements = np.frombuffer(spanned, dtype=np.dtype(f"V{view.itemsize}"))
    window = np.lib.stride_tricks.as_strided(
        elements,
        shape=[size for size, _ in view.dims],
        strides=[stride * view.itemsize for _, stride in view.dims],
        writeable=False,
    )
    return window.flat[begin:end].tobytes()
