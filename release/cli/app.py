"""The Typer app, and how a command ends."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from release import __version__
from release.errors import ReleaseError

if TYPE_CHECKING:
    from release.console import Console

_STOPPED_BY_SIGNAL: Final = 128


class ReleaseApp(typer.Typer):
    """A Typer app that ends with the exit code of the library error it met."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line; errors raised before a command began end here."""
        try:
            return super().__call__(*args, **kwargs)
        except ReleaseError as error:
            typer.echo(f"error: {error}", err=True)
            if error.hint:
                typer.echo(f"hint: {error.hint}", err=True)
            sys.exit(error.exit_code)


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
    """Give a command its console, and end it as its errors and signals ask.

    A termination signal becomes an exception, so that unfinished files are removed; a
    second one is ignored, so that the removal is not interrupted.
    """
    from release.console import Console

    console = Console(as_json=as_json, quiet=quiet)
    with _terminating():
        try:
            yield console
        except ReleaseError as error:
            console.fail(error)
            raise typer.Exit(error.exit_code) from error
        except BrokenPipeError:
            # The reader of stdout is gone; nothing is left to say, nor to flush.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None


@contextmanager
def _terminating() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        for name in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(name, signal.SIG_IGN)
        sys.exit(_STOPPED_BY_SIGNAL + number)

    before: dict[signal.Signals, Callable[..., Any] | int | None] = {
        number: signal.signal(number, stop)
        for number in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
