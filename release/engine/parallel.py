"""Independent tasks on several threads, and a bound on what they hold in memory."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_all(
    work: Callable[[Task], Result], tasks: Sequence[Task], *, threads: int
) -> list[Result]:
    """Return the results of all tasks in their order.

    The first exception, an interrupt included, lets no further task begin, and is
    raised when those that have begun have ended.
    """
    stopped = threading.Event()

    def begin(task: Task) -> Result:
        if stopped.is_set():
            raise _SkippedError
        try:
            return work(task)
        except BaseException:
            stopped.set()
            raise

    with ThreadPoolExecutor(threads, "krelease-task") as pool:
        futures = [pool.submit(begin, task) for task in tasks]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        except BaseException:
            stopped.set()
            raise
        finally:
            pool.shutdown(cancel_futures=stopped.is_set())
    for future in futures:
        error = None if future.cancelled() else future.exception()
        if error is not None and not isinstance(error, _SkippedError):
            raise error
    return [future.result() for future in futures]


class _SkippedError(Exception):
    """A task that did not begin because another failed."""


class Room:
    """A number of units that tasks share; who finds too few left waits.

    Args:
        size: Units there are, at least as many as any task takes.
    """

    def __init__(self, size: int) -> None:
        self._free = size
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, units: int) -> Iterator[None]:
        """Hold some of the units; waits until they are free."""
        with self._changed:
            self._changed.wait_for(lambda: self._free >= units)
            self._free -= units
        try:
            yield
        finally:
            with self._changed:
                self._free += units
                self._changed.notify_all()
