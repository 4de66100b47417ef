"""`krelease verify`."""

from pathlib import Path
from typing import Annotated

import typer

from release.cli.against import read_against
from release.cli.app import session
from release.cli.options import JsonOption, QuietOption, ThreadsOption


def verify(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH",
            help="Checkpoints, release folders, folders of checkpoints, .zip files.",
        ),
    ],
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="WHAT",
            help="What the files should be: a manifest.json, a SHA256SUMS or XXH128SUMS"
            " file, OWNER/REPO[@REVISION] of a Hub, an AutoV2 (10 hex digits) or a"
            " SHA-256. Nothing else is asked then.",
        ),
    ] = None,
    sha256: Annotated[
        bool,
        typer.Option("--sha256", help="Check identity too, at SHA-256's speed."),
    ] = False,
    values: Annotated[
        bool,
        typer.Option(
            "--values",
            help="Look for NaN, infinity and zeros in all tensors, those that krelease"
            " wrote and that are intact included.",
        ),
    ] = False,
    threads: ThreadsOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say whether files are intact, and name what is damaged.

    What a file should be is said by --against, or else by a manifest.json, a record or
    sums beside it, by the digests in its own header, or by the catalog: the first that
    knows the file is believed, and named. The weights of a file with an edited header
    are intact; with --sha256 it is another file. By default xxh3 is compared, which
    finds accidental damage; --sha256 compares identity as well. With --quiet, only the
    paths of what is not intact are printed.

    What is odd about a file itself is shown below it: hashes of nothing, statements in
    the header that its tensors refute, NaN, infinity, and weights that are all zero.

    Example: krelease verify gamma-rev2/

    Example: krelease verify model.safetensors --against 38942904E9
    """
    with session(as_json=json, quiet=quiet) as console:
        from release.cli.verified import brief, document, text
        from release.threads import choose_threads
        from release.verify.report import raise_if_bad
        from release.verify.verify import verify as run

        n_threads = choose_threads(threads)
        report = run(
            paths,
            level="sha256" if sha256 else "xxh3",
            threads=n_threads,
            progress=console,
            against=read_against(against, console) if against is not None else (),
            values=values,
        )
        console.result(
            "krelease.verify/1", document(report), text(report), brief=brief(report)
        )
        raise_if_bad(report)
