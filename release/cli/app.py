"""The Typer app, and how a command ends."""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from release import __version__
from release.cli.stopping import SignalError, ignore_signals, stoppable
from release.errors import ReleaseError, UsageError, visible

if TYPE_CHECKING:
    from release.console import Console

_GC_THRESHOLDS = (100_000, 50, 100)
"""Objects made before the garbage collector looks: the default of 700 costs a tenth of
the time that importing torch takes, and finds nothing."""


class ReleaseApp(typer.Typer):
    """A Typer app whose every ending has our form and an exit code of our table."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line and exit; usage errors look like all other errors."""
        arguments = list(args[0]) if args else sys.argv[1:]
        if not args:
            gc.set_threshold(*_GC_THRESHOLDS)
        try:
            with stoppable(partial(_leave, arguments), must_wait=lambda: False):
                code = super().__call__(*args, standalone_mode=False, **kwargs)
        except Exception as error:
            usage = _usage_error(error)
            if usage is None:
                raise
            if not arguments:
                typer.echo(str(error), err=True)  # the help of the whole program
                sys.exit(usage.exit_code)
            _console(arguments).fail(usage)
            sys.exit(usage.exit_code)
        finally:
            if not args:  # the whole program ends, and its exit code is settled
                ignore_signals()
        sys.exit(code)


def _usage_error(error: Exception) -> UsageError | None:
    """Return our form of an error of the command line's parser, None for others.

    The parser's classes are private to Typer; all of them format themselves.
    """
    text = getattr(error, "format_message", None)
    if text is None:
        return None
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "krelease"
    message = visible(str(text()).removesuffix("."), 400)
    return UsageError(
        message[:1].lower() + message[1:],
        hint=f"{command} --help shows what is allowed",
    )


def _console(arguments: list[str]) -> "Console":
    """Return a console for what happens before a command has its own."""
    from release.console import Console

    return Console(as_json="--json" in arguments)


def _leave(arguments: list[str], error: SignalError, is_importing: bool) -> None:
    """End at once, as there is nothing to clean up before a command begins."""
    del is_importing
    _console(arguments).stopped(error.signal_name, exit_code=error.exit_code)
    os._exit(error.exit_code)


app = ReleaseApp(
    name="krelease",
    help="Merge, convert, verify and publish image-model checkpoints.",
    epilog="Try it: krelease publish gamma-rev2 --rehearse",
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:  # Typer calls it so
    if value:
        typer.echo(f"krelease {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version and exit.",
            callback=_show_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Merge, convert, verify and publish image-model checkpoints."""
    del version


@contextmanager
def session(*, as_json: bool, quiet: bool = False) -> Iterator["Console"]:
    """Give a command its console, and end it as its errors and signals ask."""
    from release.console import Console

    console = Console(as_json=as_json, quiet=quiet)

    def stop(error: SignalError, is_importing: bool) -> None:
        if is_importing and not console.has_begun:
            # Loading torch takes seconds, and there is nothing to clean up yet.
            console.stopped(error.signal_name, exit_code=error.exit_code)
            os._exit(error.exit_code)
        console.stop(error)

    with stoppable(stop, must_wait=console.will_stop):
        try:
            yield console
        except ReleaseError as error:
            console.fail(error)
            raise typer.Exit(error.exit_code) from error
        except OSError as error:
            if error.filename is None:  # a bug, or a closed pipe, which Typer handles
                raise
            refusal = _refusal(error)
            console.fail(refusal)
            raise typer.Exit(refusal.exit_code) from error
        except SignalError as error:
            console.stopped(error.signal_name, exit_code=error.exit_code)
            raise


def _refusal(error: OSError) -> ReleaseError:
    """Return the error for a path at which the operating system said no."""
    return ReleaseError(
        f"{visible(error.filename, 1024)}: {error.strerror}",
        code="system",
        hint="check that the path is right and that you may read and write there",
    )
