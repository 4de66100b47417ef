"""The child process: parses one file under limits, and answers on its standard output.

It gets the open file as its standard input and can do nothing but read it: no memory
beyond a limit, no new files, no growth of any file, no core dump.
"""

import resource
import sys
from typing import Final

from release.formats.pickled.parse import parse
from release.formats.pickled.plan import (
    ANSWER_NBYTES_MAX,
    encode_plan,
    encode_refusal,
)
from release.formats.refused import RefusedError
from release.formats.unzip.source import Source

STUB_GLOBALS: Final = "stub-globals"
"""The argument that asks for stubs."""

_MEMORY_NBYTES: Final = 2**30
_CPU_SECONDS: Final = 60
_CPU_SECONDS_PER_GIB: Final = 10
_DESCRIPTORS: Final = 16


def cpu_seconds(file_nbytes: int) -> int:
    """Return the processor time that the child may use for a file of this size."""
    return _CPU_SECONDS + _CPU_SECONDS_PER_GIB * (file_nbytes // 2**30)


def main() -> None:
    """Answer for the file on standard input; the child's whole program."""
    source = Source(0)
    _limit(resource.RLIMIT_AS, _MEMORY_NBYTES)
    _limit(resource.RLIMIT_CPU, cpu_seconds(source.nbytes))
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, _DESCRIPTORS)
    sys.stdout.buffer.write(answer(source, stub_globals=STUB_GLOBALS in sys.argv))
    sys.stdout.buffer.flush()


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def answer(source: Source, *, stub_globals: bool) -> bytes:
    """Return what the child says about its file: a plan, or why there is none."""
    try:
        raw = encode_plan(parse(source, stub_globals=stub_globals))
    except RefusedError as refusal:
        return encode_refusal(refusal)
    except MemoryError:
        return encode_refusal(
            RefusedError(
                "resource-limit",
                f"needs more than {_MEMORY_NBYTES:,} bytes of memory to be parsed",
            )
        )
    if len(raw) > ANSWER_NBYTES_MAX:
        return encode_refusal(
            RefusedError("resource-limit", "needs a plan that is too large")
        )
    return raw
