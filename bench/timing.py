"""Running children, and pairing their times.

A child's peak memory begins with its parent's, which it shares until it executes its
own program. So the process that measures must stay smaller than what it measures:
here, and in what imports this, nothing but the standard library is loaded.
"""

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO


class BenchError(Exception):
    """A run failed or its result is wrong, so that its time means nothing."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One finished run: wall seconds, peak resident bytes, and what it printed."""

    seconds: float
    peak_nbytes: int
    stdout: str = ""


Run = Callable[[], Sample]
"""Runs a contender once and checks its result; raises `BenchError`."""


def spawn(command: Sequence[str | Path], *, expected: int = 0) -> Sample:
    """Run a command to its end.

    The peak is the kernel's own count of the child, `ru_maxrss`.

    Raises:
        BenchError: It ended with another code than `expected`.
    """
    words = [str(word) for word in command]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        begin = time.perf_counter()
        with subprocess.Popen(words, stdout=out, stderr=err) as child:
            try:
                _, status, usage = os.wait4(child.pid, 0)
            except BaseException:
                child.kill()
                raise
            seconds = time.perf_counter() - begin
            child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != expected:
            said = _text(err).strip().splitlines()[-6:]
            raise BenchError(
                f"{' '.join(words)[:120]}: exit code {child.returncode}, expected "
                f"{expected}: {' / '.join(said)}"
            )
        return Sample(seconds, usage.ru_maxrss * 1024, _text(out))


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
