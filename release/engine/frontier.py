"""How far an output has come, for those who follow the pass from the front."""

import threading

from release.engine.plan import OutputPlan


class StoppedError(Exception):
    """Another worker failed, or the user interrupted; never seen outside the engine."""


class Frontier:
    """How far an output is complete from its start, while tensors finish out of order.

    Args:
        output: The plan of the output.
    """

    def __init__(self, output: OutputPlan) -> None:
        self._begins = [
            *(output.header_nbytes + entry.begin for entry in output.entries),
            output.nbytes,
        ]
        self._number = {entry.name: at for at, entry in enumerate(output.entries)}
        self._done = bytearray(len(output.entries))
        self._reached = 0
        self._is_stopped = False
        self._changed = threading.Condition()

    @property
    def begin(self) -> int:
        """Where the data section starts."""
        return self._begins[0]

    @property
    def end(self) -> int:
        """Byte after the data section."""
        return self._begins[-1]

    def finish(self, tensor_name: str) -> None:
        """Record that a tensor is written."""
        with self._changed:
            self._done[self._number[tensor_name]] = 1
            before = self._reached
            while self._reached < len(self._done) and self._done[self._reached]:
                self._reached += 1
            if self._reached != before:
                self._changed.notify_all()

    def stop(self) -> None:
        """Wake whoever waits; they get `StoppedError`."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def wait_beyond(self, position: int) -> int:
        """Wait until more than `position` is complete, and return how much is."""
        with self._changed:
            while self._begins[self._reached] <= position and not self._is_stopped:
                self._changed.wait()
            if self._is_stopped:
                raise StoppedError
            return self._begins[self._reached]
