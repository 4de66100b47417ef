"""`krelease verify`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from release.cli.app import session
from release.cli.options import JsonOption, QuietOption, ThreadsOption

if TYPE_CHECKING:
    from release.verify.report import VerifyReport


def verify(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="DIR_OR_FILE", help="A release folder, or a safetensors file."
        ),
    ],
    sha256: Annotated[
        bool,
        typer.Option("--sha256", help="Check identity too, at SHA-256's speed."),
    ] = False,
    threads: ThreadsOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check a release folder, or one file, and name what is damaged.

    A folder is checked against its manifest.json. A file that krelease wrote carries
    the digests of its tensors and needs nothing beside it. By default xxh3 is compared,
    which finds accidental damage; --sha256 compares identity as well. With --quiet,
    only the paths of what is damaged or missing are printed.

    Example: krelease verify gamma-rev2/
    """
    with session(as_json=json, quiet=quiet) as console:
        from release.threads import choose_threads
        from release.verify.report import raise_if_bad
        from release.verify.verify import verify as run

        report = run(
            path,
            level="sha256" if sha256 else "xxh3",
            threads=choose_threads(threads),
            progress=console,
        )
        console.result(
            "krelease.verify/1", _document(report), _text(report), brief=_brief(report)
        )
        raise_if_bad(report)


def _document(report: "VerifyReport") -> dict[str, object]:
    return {
        "path": str(report.path),
        "level": report.level,
        "release": report.release,
        "rehearsal": report.rehearsal,
        "intact": report.is_intact,
        "files": [asdict(file) for file in report.files],
        "extra": list(report.extra),
    }


def _brief(report: "VerifyReport") -> list[str]:
    from release.errors import visible

    folder = report.path if report.path.is_dir() else report.path.parent
    return [visible(folder / file.name, 4096) for file in report.bad]


def _text(report: "VerifyReport") -> list[str]:
    from release.console import columns
    from release.errors import first_names, visible

    lines = columns(
        [[file.verdict, visible(file.name), file.detail] for file in report.files]
    )
    if report.extra:
        lines.append(f"not part of the release: {first_names(report.extra)}")
    checked = {
        "xxh3": "xxh3 (finds accidents; identity was not checked: --sha256)",
        "sha256": "xxh3 and SHA-256",
    }[report.level]
    lines.append(f"checked by {checked}")
    if report.rehearsal:
        lines.append("this is a rehearsal: random weights, not a model")
    return lines
