"""Asks a child process what is in a file, and believes nothing of the answer unchecked.

A file that drives the child out of memory, time or its mind costs the child only.
"""

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

from release.formats.input import InputFile
from release.formats.pickled.child import STUB_GLOBALS, cpu_seconds
from release.formats.pickled.faults import RefusedError, error_for
from release.formats.pickled.plan import ANSWER_NBYTES_MAX, Plan, decode_answer

_ROOT: Final = Path(__file__).resolve().parents[3]
"""The folder that holds our package: a checkout, or one of installed packages."""

_PROGRAM: Final = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from release.formats.pickled.child import main; main()"
)
"""Our package last, so that nothing beside it stands in for the standard library."""

_WAIT_FACTOR: Final = 5
"""Real time against processor time: a slow disk is no fault of the file."""


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
    arguments = [STUB_GLOBALS] if stub_globals else []
    try:
        process = subprocess.Popen(  # noqa: S603 - a program of our own
            # Isolated, and without the site packages and their start-up code.
            [sys.executable, "-I", "-S", "-c", _PROGRAM, str(_ROOT), *arguments],
            stdin=file.fileno(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            process_group=0,  # a Ctrl-C is for us, and we end the child
        )
    except OSError as error:
        raise RefusedError(
            "pickle-reader", f"Python cannot be started: {error.strerror}"
        ) from error
    deadline = threading.Timer(_WAIT_FACTOR * cpu_seconds(file.nbytes), process.kill)
    deadline.daemon = True
    with process:
        try:
            deadline.start()
            raw = _read(process)
        finally:
            deadline.cancel()
            process.kill()
    _check_end(process.returncode)
    return raw


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


def _check_end(status: int) -> None:
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
        raise RefusedError(
            "pickle-reader", f"the process that reads the pickle ended with {status}"
        )
