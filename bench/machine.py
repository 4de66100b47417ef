"""What the figures hold for: the processor, the memory, and who else was at work."""

import os
import re
import resource
import time
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_IDLE_FIELDS = {3, 4}  # of /proc/stat: idle, and idle while waiting for a disk
_GUEST_FIELDS = {8, 9}  # already counted in others


def processor() -> str:
    """Return the processor's name as the kernel gives it."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    found = re.search(r"^model name\s*: (.+)$", text, flags=re.MULTILINE)
    return found[1] if found else os.uname().machine


def available_memory() -> int:
    """Return the bytes of memory that can be used without swapping."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    facts = dict(line.split(":", 1) for line in lines)
    return int(facts["MemAvailable"].split()[0]) * 1024


def file_system(folder: Path, mounts: str) -> str:
    """Return the type of the file system that `folder` lies in, such as "ext4".

    Args:
        folder: Absolute.
        mounts: The text of /proc/self/mounts.
    """
    found = ("", "unknown")
    for line in mounts.splitlines():
        _, place, kind, *_ = line.split(" ")
        path = place.replace("\\040", " ")
        # Of two mounts in one place, the later one is seen.
        if folder.is_relative_to(path) and len(path) >= len(found[0]):
            found = (path, kind)
    return found[1]


def busy_seconds(stat: str) -> float:
    """Return the time that all cores together were busy, from /proc/stat's text."""
    fields = [int(field) for field in stat.splitlines()[0].split()[1:]]
    idle = _IDLE_FIELDS | _GUEST_FIELDS
    return sum(ticks for at, ticks in enumerate(fields) if at not in idle) / _TICKS


class OtherWork:
    """How many cores other programs have used since this object was made.

    They slow down what uses all cores more than what uses one, so ratios suffer too.
    """

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._foreign = _foreign_seconds()

    def cores(self) -> float:
        """Return the average so far."""
        used = _foreign_seconds() - self._foreign
        return max(0.0, used / (time.monotonic() - self._begin))


def _foreign_seconds() -> float:
    """Return busy time that is neither this process's nor a finished child's."""
    stat = Path("/proc/stat").read_text(encoding="ascii")
    own = [
        resource.getrusage(who)
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    return busy_seconds(stat) - sum(usage.ru_utime + usage.ru_stime for usage in own)
