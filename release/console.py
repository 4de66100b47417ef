"""The one place that prints: results to stdout, everything else to stderr."""

import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TextIO

from release.errors import ReleaseError, visible
from release.progress import Advance

_RED: Final = "\x1b[31m"
_PLAIN: Final = "\x1b[0m"
_UNITS: Final = ("B", "kB", "MB", "GB", "TB")


def size(nbytes: int) -> str:
    """Return a size for people: decimal units, three digits."""
    value, unit = float(nbytes), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    digits = 0 if unit == 0 or value >= 99.95 else (1 if value >= 9.995 else 2)
    return f"{value:.{digits}f} {_UNITS[unit]}"


class Console:
    """Where a command shows its result and what it is doing.

    Args:
        as_json: The result is one JSON object; people's text is not printed.
        quiet: No notes and no progress; errors and warnings remain.
        out: For results.
        err: For everything else.
    """

    def __init__(
        self,
        *,
        as_json: bool = False,
        quiet: bool = False,
        out: TextIO | None = None,
        err: TextIO | None = None,
    ) -> None:
        self._as_json = as_json
        self._quiet = quiet
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._has_result = False

    def result(
        self, schema: str, document: Mapping[str, Any], text: Sequence[str]
    ) -> None:
        """Show the result of the command: once, as JSON or as lines of text.

        Args:
            schema: Name and version of the document, such as "krelease.verify/1".
            document: Everything that a script may want.
            text: The same for people.
        """
        self._has_result = True
        if self._as_json:
            self._print(self._out, json.dumps({"schema": schema, **document}))
            return
        for line in text:
            self._print(self._out, line)

    def note(self, line: str) -> None:
        """Say what is being done."""
        if not self._quiet:
            self._print(self._err, line)

    def warn(self, line: str) -> None:
        """Say what the user should know although the command goes on."""
        self._print(self._err, f"warning: {line}")

    def fail(self, error: ReleaseError) -> None:
        """Show an error; with JSON also as the result, unless there is one already."""
        colours = (_RED, _PLAIN) if self._err.isatty() else ("", "")
        self._print(self._err, f"{colours[0]}error: {error}{colours[1]}")
        if error.hint:
            self._print(self._err, f"hint: {error.hint}")
        if self._as_json and not self._has_result:
            self.result(
                "krelease.error/1",
                {
                    "code": error.code,
                    "message": str(error),
                    "hint": error.hint,
                    "exit_code": error.exit_code,
                },
                [],
            )

    @contextmanager
    def stage(self, label: str, nbytes: int) -> Iterator[Advance]:
        """Show a stage: a bar with bytes, rate and ETA, or one line when it ends."""
        if self._quiet:
            yield lambda _: None
        elif self._err.isatty():
            with self._bar(label, nbytes) as advance:
                yield advance
        else:
            with self._summary(label) as advance:
                yield advance

    @contextmanager
    def _bar(self, label: str, nbytes: int) -> Iterator[Advance]:
        from rich.console import Console as RichConsole
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            DownloadColumn(),
            TransferSpeedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=RichConsole(file=self._err),
            transient=True,
        )
        begin = time.monotonic()
        with bar:
            task = bar.add_task(visible(label), total=max(nbytes, 1))
            yield lambda done: bar.advance(task, done)
        self._sum_up(label, nbytes, time.monotonic() - begin)

    @contextmanager
    def _summary(self, label: str) -> Iterator[Advance]:
        lock, begin, total = threading.Lock(), time.monotonic(), 0

        def advance(done: int) -> None:
            nonlocal total
            with lock:
                total += done

        yield advance
        self._sum_up(label, total, time.monotonic() - begin)

    def _sum_up(self, label: str, nbytes: int, seconds: float) -> None:
        rate = size(int(nbytes / seconds)) if seconds > 0 else "-"
        self.note(f"{visible(label)}: {size(nbytes)} in {seconds:.1f} s ({rate}/s)")

    @staticmethod
    def _print(stream: TextIO, line: str) -> None:
        print(line, file=stream, flush=True)  # the one place that prints
