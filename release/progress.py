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


class NoProgress:
    """Stages that nobody watches."""

    def stage(self, label: str, nbytes: int) -> AbstractContextManager[Advance]:
        """Begin a stage; nothing is shown."""
        del label, nbytes
        return nullcontext(lambda _: None)
