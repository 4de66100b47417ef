"""How signals end the program: once, in order, with everything unfinished removed."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

_STOPPED_BY_SIGNAL: Final = 128
_PAUSE_SECONDS: Final = 0.02
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class SignalError(SystemExit):
    """The user or the system asked the program to stop.

    Args:
        number: The signal.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        self.exit_code = _STOPPED_BY_SIGNAL + number
        super().__init__(self.exit_code)
        self.signal_name = signal.Signals(number).name


@contextmanager
def stoppable(
    on_stop: Callable[[SignalError, bool], None], *, must_wait: Callable[[], bool]
) -> Iterator[None]:
    """Raise `SignalError` after the first stop signal, so that clean-up code runs.

    Later signals are ignored, so that the clean-up is not interrupted. While a module
    is being imported the error waits: extension modules swallow what is raised there,
    or stay half-loaded.

    Args:
        on_stop: Called inside the signal handler, with what will be raised and
            whether a module is being imported.
        must_wait: Asked until it says no whether the error still has to wait.
    """
    asked: list[SignalError] = []

    def stop(number: int, frame: FrameType | None) -> None:
        is_importing = _is_importing(frame)
        if not asked:
            ignore_signals()
            signal.signal(signal.SIGALRM, stop)
            asked.append(SignalError(number))
            on_stop(asked[0], is_importing)
        if is_importing or must_wait():
            signal.setitimer(signal.ITIMER_REAL, _PAUSE_SECONDS)
        else:
            raise asked[0]

    before: dict[signal.Signals, Callable[..., Any] | int | None] = {
        number: signal.signal(number, stop) for number in _SIGNALS
    }
    try:
        yield
    finally:
        if asked:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def ignore_signals() -> None:
    """Ignore stop signals from now on."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
