"""Running children, and pairing their times.

A child's peak memory begins with its parent's, which it shares until it executes its
own program. So the process that measures must stay smaller than what it measures:
here, and in what imports this, nothing but the standard library is loaded.
"""

import os
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

_REASON_LENGTH = 240


class BenchError(Exception):
    """A run failed or its result is wrong, so that its time means nothing."""

    @property
    def reason(self) -> str:
        """The message as the table tells it: one line, and no more than its end."""
        text = " ".join(str(self).split())
        cut = len(text) > _REASON_LENGTH
        return f"... {text[-_REASON_LENGTH:]}" if cut else text


class PeerError(BenchError):
    """A run of a peer failed that krelease can be measured without."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One finished run: wall seconds, peak resident bytes, and what it printed.

    `sync_seconds` is how long it took afterwards to bring its result to the disk.
    """

    seconds: float
    peak_nbytes: int
    stdout: str = ""
    sync_seconds: float = 0.0

    def until_stored(self) -> "Sample":
        """Return the run as if it had ended with its result on the disk."""
        return replace(self, seconds=self.seconds + self.sync_seconds)


Run = Callable[[], Sample]
"""Runs a contender once and checks its result; raises `BenchError`."""


def spawn(
    command: Sequence[str | Path], *, expected: int = 0, limit: float | None = None
) -> Sample:
    """Run a command to its end.

    The peak is the kernel's own count of the child, `ru_maxrss`.

    Args:
        command: Program and arguments.
        expected: Exit code.
        limit: Seconds after which it is killed, with all that it has started.

    Raises:
        BenchError: It ended with another code than `expected`, or was killed.
    """
    words = [str(word) for word in command]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        begin = time.perf_counter()
        with subprocess.Popen(
            words, stdout=out, stderr=err, start_new_session=True
        ) as child:
            timer = threading.Timer(limit or 0.0, _kill, [child.pid])
            try:
                if limit is not None:
                    timer.start()
                _, status, usage = os.wait4(child.pid, 0)
            except BaseException:
                _kill(child.pid)
                raise
            finally:
                timer.cancel()
            seconds = time.perf_counter() - begin
            child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != expected:
            if limit is not None and seconds >= limit:
                raise BenchError(f"{' '.join(words)[:120]}: not done in {limit:g} s")
            said = _text(err).strip().splitlines()[-6:]
            raise BenchError(
                f"{' '.join(words)[:120]}: exit code {child.returncode}, expected "
                f"{expected}: {' / '.join(said)}"
            )
        return Sample(seconds, usage.ru_maxrss * 1024, _text(out))


def _kill(pid: int) -> None:
    """End a child that leads a session, with its own children."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def interleave(
    contenders: Mapping[str, Run],
    *,
    rounds: int,
    warm_ups: int,
    note: Callable[[str], None] = lambda _: None,
) -> dict[str, list[Sample]]:
    """Run every contender once a round, so that each ratio pairs neighbours in time.

    The first round goes in the order given, every other one backwards, so that a drift
    of the machine favours nobody.

    Args:
        contenders: Name -> run.
        rounds: Rounds that count.
        warm_ups: Rounds before them that do not.
        note: Told what was measured, run by run.

    Returns:
        Name -> samples, one for each round that counts, in order.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    for number in range(-warm_ups, rounds):
        names = list(contenders)
        is_forward = (number + warm_ups) % 2 == 0
        for name in names if is_forward else reversed(names):
            sample = contenders[name]()
            label = f"run {number + 1}" if number >= 0 else "warm-up"
            note(f"{name}: {label}: {sample.seconds:.2f} s")
            if number >= 0:
                samples[name].append(sample)
    return samples


def ratios(numerators: Sequence[Sample], denominators: Sequence[Sample]) -> list[float]:
    """Return the ratio of wall times for each pair of runs of one round."""
    return [
        upper.seconds / lower.seconds
        for upper, lower in zip(numerators, denominators, strict=True)
    ]


def median_seconds(samples: Sequence[Sample]) -> float:
    """Return the median wall time."""
    return statistics.median(sample.seconds for sample in samples)


def peak_nbytes(samples: Sequence[Sample]) -> int:
    """Return the greatest peak of resident memory."""
    return max(sample.peak_nbytes for sample in samples)
