"""How long work tells of itself: stages with a size in bytes.

The library knows this protocol only; what is drawn is the console's affair.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

Advance = Callable[[int], None]
"""Called with bytes done, from any thread."""


class Progress(Protocol):
    """Where stages are announced."""

    def stage(self, label: str, nbytes: int) -> AbstractContextManager[Advance]:
        """Begin a stage of `nbytes` bytes; leaving the context ends it."""

    def warn(self, line: str) -> None:
        """Say what the user should know although the work goes on."""


class NoProgress:
    """Stages that nobody watches."""

    def stage(self, label: str, nbytes: int) -> AbstractContextManager[Advance]:
        """Begin a stage; nothing is shown."""
        del label, nbytes
        return nullcontext(lambda _: None)

    def warn(self, line: str) -> None:
        """Hear a warning; nothing is shown."""
        del line
