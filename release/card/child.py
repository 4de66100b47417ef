"""The process that renders a maker's templates, with limits on all that it may use.

Reads one JSON object from stdin, writes one to stdout; stderr has a line for each
template that it begins. Started by `release.card.confined`, and by nobody else.
"""

import json
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from release.card.environment import (
    Plain,
    place_of,
    stream_template,
    template_hint,
)
from release.card.packing import unpacked
from release.errors import CardError, visible

SECONDS_MAX: Final = 2
"""Wall clock, and CPU, for rendering; starting the process does not count."""
MEMORY_NBYTES_MAX: Final = 256 * 1024 * 1024
"""Address space of the process, the interpreter included."""
OUTPUT_LENGTH_MAX: Final = 1024 * 1024
"""Characters of all rendered texts together."""
LIMIT_CODE: Final = "template-limit"

_MEMORY_FOR_THE_ERROR: Final = 32 * 1024 * 1024


class _TimeUpError(Exception):
    """The time is over."""


class _TooLongError(Exception):
    """The output is over its limit."""


def main() -> None:
    """Render what stdin asks for; an error is an answer too."""
    request = json.loads(sys.stdin.buffer.read())
    own = Path(request["own"])
    context = unpacked(request["context"])
    _limit()
    try:
        answer: dict[str, object] = {"texts": _rendered(request["names"], context, own)}
    except CardError as error:
        answer = {"message": str(error), "code": error.code, "hint": error.hint}
    sys.stdout.buffer.write(json.dumps(answer).encode())


def _limit() -> None:
    """Set the limits; the hard ones end the process where no handler is reached."""
    memory = MEMORY_NBYTES_MAX
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory + _MEMORY_FOR_THE_ERROR))
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + SECONDS_MAX + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    signal.signal(signal.SIGALRM, _time_up)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM, signal.SIGXCPU})
    signal.setitimer(signal.ITIMER_REAL, SECONDS_MAX)


def _time_up(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise _TimeUpError


def _rendered(
    names: Sequence[str], context: Mapping[str, Plain], own: Path
) -> list[str]:
    texts: list[str] = []
    room = OUTPUT_LENGTH_MAX
    for name in names:
        sys.stderr.write(f"{name}\n")
        sys.stderr.flush()
        try:
            texts.append(_text(name, context, own, room))
        except CardError:
            raise
        except Exception as error:
            resource.setrlimit(
                resource.RLIMIT_AS, (resource.getrlimit(resource.RLIMIT_AS)[1],) * 2
            )
            raise _refusal(error, name, own) from error
        room -= len(texts[-1])
    signal.setitimer(signal.ITIMER_REAL, 0)
    return texts


def _text(name: str, context: Mapping[str, Plain], own: Path, room: int) -> str:
    pieces: list[str] = []
    stream = stream_template(name, context, own=own)
    for piece in stream:
        room -= len(piece)
        if room < 0:
            stream.throw(_TooLongError())  # from where it is in the template
        pieces.append(piece)
    return "".join(pieces)


def _refusal(error: Exception, name: str, own: Path) -> CardError:
    """Return what a maker reads of an error that only rendering shows."""
    reasons: dict[type[Exception], str] = {
        _TimeUpError: f"takes over {SECONDS_MAX} seconds",
        _TooLongError: f"writes over {OUTPUT_LENGTH_MAX:,} characters",
        MemoryError: f"takes over {MEMORY_NBYTES_MAX // 2**20} MiB of memory",
        RecursionError: "nests too deeply, or includes itself",
    }
    reason = next(
        (text for kind, text in reasons.items() if isinstance(error, kind)), ""
    )
    place = place_of(error, name)
    if reason:
        hint = "look for a loop without end; a section of a card takes milliseconds"
        return CardError(f"{place}: {reason}", code=LIMIT_CODE, hint=hint)
    return CardError(
        f"{place}: {visible(error) or type(error).__name__}",
        code="template",
        hint=template_hint(own),
    )


if __name__ == "__main__":
    main()
