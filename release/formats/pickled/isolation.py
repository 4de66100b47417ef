"""Asks a child process what is in a file, and believes nothing of the answer unchecked.

A file that drives the child out of memory, time or its mind costs the child only.
"""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from release.errors import visible
from release.formats.input import InputFile
from release.formats.pickled.child import STUB_GLOBALS, cpu_seconds
from release.formats.pickled.faults import error_for
from release.formats.pickled.plan import ANSWER_NBYTES_MAX, Plan, decode_answer
from release.formats.refused import RefusedError

_ROOT: Final = Path(__file__).resolve().parents[3]
"""The folder that holds our package: a checkout, or one of installed packages."""

_PROGRAM: Final = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from release.formats.pickled.child import main; main()"
)
"""Our package last, so that nothing beside it stands in for the standard library."""

_WAIT_FACTOR: Final = 5
"""Real time against processor time: a slow disk is no fault of the file."""

_COMPLAINT_NBYTES_MAX: Final = 2**16
_COMPLAINT_LENGTH_MAX: Final = 200
"""Characters of the child's last words that are shown."""


def read_plan(file: InputFile, *, stub_globals: bool) -> Plan:
    """Return the plan of a pickled checkpoint.

    Args:
        file: Open; the child reads the same descriptor.
        stub_globals: As for `parse`.

    Raises:
        CheckpointError: With the code of the rule that the file breaks,
            `resource-limit` when the child died of it, `pickle-reader` when its answer
            is wrong.
    """
    try:
        return decode_answer(_ask(file, stub_globals=stub_globals), file.nbytes)
    except RefusedError as refusal:
        raise error_for(file.path, refusal) from None


def _ask(file: InputFile, *, stub_globals: bool) -> bytes:
    complaints = _Complaints()
    try:
        process = _start(file, complaints.write_end, stub_globals=stub_globals)
        raw = _answer(process, file.nbytes)
        _check_end(process.returncode, complaints)
    finally:
        complaints.close()
    return raw


def _start(
    file: InputFile, complaints: int, *, stub_globals: bool
) -> "subprocess.Popen[bytes]":
    arguments = [STUB_GLOBALS] if stub_globals else []
    try:
        return subprocess.Popen(  # noqa: S603 - a program of our own
            # Isolated, and without the site packages and their start-up code.
            [sys.executable, "-I", "-S", "-c", _PROGRAM, str(_ROOT), *arguments],
            stdin=file.fileno(),
            stdout=subprocess.PIPE,
            stderr=complaints,
            process_group=0,  # a Ctrl-C is for us, and we end the child
        )
    except OSError as error:
        raise RefusedError(
            "pickle-reader", f"Python cannot be started: {error.strerror}"
        ) from error


def _answer(process: "subprocess.Popen[bytes]", file_nbytes: int) -> bytes:
    """Return what the child writes, which has ended afterwards."""
    deadline = threading.Timer(_WAIT_FACTOR * cpu_seconds(file_nbytes), process.kill)
    deadline.daemon = True
    with process:
        try:
            deadline.start()
            return _read(process)
        finally:
            deadline.cancel()
            process.kill()


def _read(process: "subprocess.Popen[bytes]") -> bytes:
    """Return what the child writes, to its end."""
    if process.stdout is None:
        raise AssertionError("the child's output is a pipe")
    raw = process.stdout.read(ANSWER_NBYTES_MAX + 1)
    if len(raw) > ANSWER_NBYTES_MAX:
        raise RefusedError(
            "pickle-reader", "the process that reads the pickle does not stop talking"
        )
    process.wait()
    return raw


class _Complaints:
    """A pipe for what the child says when it fails.

    Neither end blocks: a child that says more than fits in is not held up by it.

    Attributes:
        write_end: The descriptor for the child.
    """

    def __init__(self) -> None:
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.set_blocking(self.write_end, False)

    def last_line(self) -> str:
        """Return the last line that is not blank, cut and safe for a terminal."""
        raw = b""
        with suppress(BlockingIOError):
            raw = os.read(self._read_end, _COMPLAINT_NBYTES_MAX)
        lines = raw.decode("utf-8", "replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return visible(said[-1], _COMPLAINT_LENGTH_MAX) if said else ""

    def close(self) -> None:
        os.close(self._read_end)
        os.close(self.write_end)


def _check_end(status: int, complaints: _Complaints) -> None:
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        raise RefusedError(
            "resource-limit",
            f"the process that reads the pickle was ended by {name}: the file asks for "
            f"more time or memory than a checkpoint needs",
        )
    if status > 0:
        said = complaints.last_line()
        raise RefusedError(
            "pickle-reader",
            f"the process that reads the pickle ended with {status}"
            + (f": {said}" if said else ""),
        )
