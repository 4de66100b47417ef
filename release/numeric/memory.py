"""What the C library does with memory that is no longer used."""

import ctypes
from typing import Final

_MMAP_THRESHOLD: Final = -3
"""M_MMAP_THRESHOLD of malloc.h."""
_LARGE_NBYTES: Final = 4 * 2**20


def return_large_blocks() -> None:
    """Have blocks of 4 MiB and more given back as soon as they are free.

    glibc keeps blocks of up to 32 MiB once one as large was freed, in a heap for every
    thread: with matrices of many sizes, tens of MiB for each that nothing is in. The
    setting is for the whole process; without glibc nothing happens.

    Source:
        mallopt(3), M_MMAP_THRESHOLD.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(ctypes.c_int(_MMAP_THRESHOLD), ctypes.c_int(_LARGE_NBYTES))
