"""The one place that prints: results to stdout, everything else to stderr."""

import io
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, TextIO

from release.errors import RecipeError, ReleaseError, WriteError, visible
from release.numeric.size import size_text
from release.progress import Advance

_RED: Final = "\x1b[31m"
_PLAIN: Final = "\x1b[0m"
_BAR_WIDTH: Final = 16
_PATIENCE_SECONDS: Final = 1.0


def columns(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """Return rows as lines whose columns stand below each other, two blanks apart.

    Args:
        rows: Cells; every row has the same number.
        right: Numbers of the columns that are set flush right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


_TELLING_SECONDS: Final = 0.05
"""Below it, a rate says more about the clock than about the work."""


class Console:
    """Where a command shows its result and what it is doing.

    Attributes:
        has_begun: Whether anything was said or begun, so that files may be unfinished.

    Args:
        as_json: The result is one JSON object; people's text is not printed.
        quiet: No notes and no progress, and of the result only names, one a line;
            errors and warnings remain.
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
        # A stream that was closed before the program began is None.
        self._out = out or sys.stdout or io.StringIO()
        self._err = err or sys.stderr or io.StringIO()
        self.has_begun = False
        self._has_result = False
        self._left = "no unfinished file is left"
        self._n_stages = 0
        self._stop: BaseException | None = None
        self._stop_time = 0.0
        self._is_stopping = False

    def result(
        self,
        schema: str,
        document: Mapping[str, Any],
        text: Sequence[str],
        *,
        brief: Sequence[str] = (),
    ) -> None:
        """Show the result of the command: once, as JSON or as lines of text.

        Args:
            schema: Name and version of the document, such as "krelease.verify/1".
            document: Everything that a script may want.
            text: The same for people.
            brief: Names or paths, for `quiet`.

        Raises:
            WriteError: Stdout cannot be written.
            BrokenPipeError: Nobody reads stdout any more.
        """
        self.has_begun = self._has_result = True
        if self._as_json:
            lines: Sequence[str] = [json.dumps({"schema": schema, **document})]
        else:
            lines = brief if self._quiet else text
        try:
            for line in lines:
                self._print(self._out, line)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise WriteError(
                f"stdout: cannot be written: {error.strerror}",
                hint="the work itself is done; look at what stdout leads to",
            ) from error

    def note(self, line: str) -> None:
        """Say what is being done."""
        self.has_begun = True
        if not self._quiet:
            self._print(self._err, line)

    def warn(self, line: str) -> None:
        """Say what the user should know although the command goes on."""
        self._print(self._err, f"warning: {line}")

    def fail(self, error: ReleaseError) -> None:
        """Show an error; with JSON also as the result, unless there is one already."""
        red, plain = (_RED, _PLAIN) if self._has_colour() else ("", "")
        self._print(self._err, f"{red}error: {error}{plain}")
        excerpt = error.excerpt if isinstance(error, RecipeError) else None
        for line in excerpt.lines if excerpt else ():
            self._print(self._err, f"  {line}")
        if error.hint:
            self._print(self._err, f"hint: {error.hint}")
        place = {"column": excerpt.column} if excerpt else {}
        self._fail_as_json(error.code, str(error), error.hint, error.exit_code, **place)

    def stop(self, error: BaseException) -> None:
        """Make the stage end: whoever reports progress next gets `error` raised.

        Threads that no signal reaches end that way, in order and at a safe place.
        """
        self._stop, self._stop_time = error, time.monotonic()

    def will_stop(self) -> bool:
        """Return whether the stage ends by `stop`, so that nothing else need end it.

        False outside of stages, and in one that has not reported for a while.
        """
        if self._is_stopping:
            return True
        is_patient = time.monotonic() - self._stop_time < _PATIENCE_SECONDS
        return self._n_stages > 0 and is_patient

    def keeps(self, line: str) -> None:
        """Have `stopped` say what is left on purpose, not that nothing is."""
        self._left = line

    def stopped(self, signal_name: str, *, exit_code: int) -> None:
        """Say that a signal ended the command, after everything was cleaned up."""
        message = f"stopped by {signal_name}; {self._left}"
        self._print(self._err, message)
        self._fail_as_json("stopped", message, "", exit_code)

    @contextmanager
    def stage(self, label: str, nbytes: int) -> Iterator[Advance]:
        """Show a stage: a bar with bytes, rate and ETA, or one line when it ends."""
        self.has_begun = True
        with self._shown(label, nbytes) as show:

            def advance(done: int) -> None:
                if self._stop is not None:
                    self._is_stopping = True
                    raise self._stop
                show(done)

            self._n_stages += 1
            try:
                yield advance
            finally:
                self._n_stages -= 1

    def _shown(self, label: str, nbytes: int) -> AbstractContextManager[Advance]:
        if self._quiet:
            return nullcontext(lambda _: None)
        if self._err.isatty():
            return self._bar(label, nbytes)
        return self._summary(label)

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
        from rich.table import Column

        one_line = Column(no_wrap=True, overflow="ellipsis", ratio=1)
        fixed = Column(no_wrap=True)
        bar = Progress(
            TextColumn("{task.description}", markup=False, table_column=one_line),
            BarColumn(bar_width=_BAR_WIDTH),
            DownloadColumn(table_column=fixed),
            TransferSpeedColumn(table_column=fixed),
            TextColumn("ETA", table_column=fixed),
            TimeRemainingColumn(compact=True, table_column=fixed),
            console=RichConsole(file=self._err),
            transient=True,
            expand=True,
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
        if nbytes == 0:
            return
        text = f"{visible(label)}: {size_text(nbytes)}"
        if seconds >= _TELLING_SECONDS:
            rate = size_text(int(nbytes / seconds))
            text += f" in {seconds:.1f} s ({rate}/s)"
        self.note(text)

    def _has_colour(self) -> bool:
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        return self._err.isatty() and not plain

    def _fail_as_json(
        self, code: str, message: str, hint: str, exit_code: int, **place: int
    ) -> None:
        if not self._as_json or self._has_result:
            return
        document = {
            "code": code,
            "message": message,
            "hint": hint,
            "exit_code": exit_code,
            **place,
        }
        self.result("krelease.error/1", document, [])

    @staticmethod
    def _print(stream: TextIO, line: str) -> None:
        """Print one line; what the stream's encoding lacks becomes an escape."""
        encoding = stream.encoding or "utf-8"
        shown = line.encode(encoding, "backslashreplace").decode(encoding)
        stream.write(f"{shown}\n")  # in one piece, whatever interrupts
        stream.flush()
