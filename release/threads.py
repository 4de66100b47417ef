"""How many worker threads to use."""

import os
from typing import Final

from release.errors import UsageError, visible

THREADS_VARIABLE: Final = "KRELEASE_THREADS"
MAX_THREADS: Final = 512
"""More would only wait for one another."""


def choose_threads(wish: int | None = None) -> int:
    """Return `wish`, or KRELEASE_THREADS, or the cores this process may use.

    Raises:
        UsageError: KRELEASE_THREADS is not a whole number from 1 to `MAX_THREADS`.
    """
    if wish is not None:
        return wish
    text = os.environ.get(THREADS_VARIABLE, "")
    if not text:
        return len(os.sched_getaffinity(0))
    if not text.isdecimal() or not 1 <= int(text[:9]) <= MAX_THREADS:
        raise UsageError(
            f"{THREADS_VARIABLE}={visible(text)}: expected a whole number "
            f"from 1 to {MAX_THREADS}",
            code="threads",
            hint=f"unset {THREADS_VARIABLE}, or pass --threads",
        )
    return int(text)
