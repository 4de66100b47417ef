"""`krelease repair`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from release.cli.against import read_against
from release.cli.app import session
from release.cli.options import JsonOption, QuietOption, ThreadsOption
from release.cli.stopping import SignalError
from release.errors import ReleaseError, UsageError, visible
from release.numeric.size import size_text

if TYPE_CHECKING:
    from release.console import Console
    from release.repair.report import RepairReport

FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="The damaged or cut file.")
]
FromOption = Annotated[
    str,
    typer.Option(
        "--from",
        metavar="SOURCE",
        help="Where whole bytes come from: OWNER/REPO[@REVISION] on the Hub,"
        " hf://OWNER/REPO[@REVISION]/FILE, an address that begins with https://, or"
        " another copy on disk.",
    ),
]
AgainstOption = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="WHAT",
        help="What the file should be: a manifest.json, a SHA256SUMS or XXH128SUMS"
        " file, OWNER/REPO[@REVISION] of a Hub, or a SHA-256. If not given: what lies"
        " beside the file.",
    ),
]
FullOption = Annotated[
    bool,
    typer.Option("--full", help="Fetch the whole file, not only what is damaged."),
]
ByPartsOption = Annotated[
    bool,
    typer.Option(
        "--by-parts",
        help="Fetch only what is damaged, also where that is more than half.",
    ),
]
KeepOption = Annotated[
    bool, typer.Option("--keep", help="Keep the damaged file as FILE.damaged.")
]
PlanOption = Annotated[
    bool,
    typer.Option("--dry-run", help="Say what would be fetched and write nothing."),
]


def repair(
    path: FileArgument,
    source: FromOption,
    against: AgainstOption = None,
    full: FullOption = False,
    by_parts: ByPartsOption = False,
    keep: KeepOption = False,
    dry_run: PlanOption = False,
    threads: ThreadsOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a damaged or cut file whole, fetching only what is damaged.

    A manifest tells which parts of 1 MiB are damaged; without one, the header of a file
    that krelease wrote tells which tensors are. Only these are fetched, each compared
    with its digest. The repaired copy is compared as a whole, by SHA-256 where it is
    known, before it takes the file's place; until then the file stays as it is. A
    repair that was interrupted goes on where it was.

    Example: krelease repair model.safetensors --from KBlueLeaf/Kohaku-XL-gamma
    """
    with session(as_json=json, quiet=quiet) as console:
        if full and by_parts:
            raise UsageError(
                "--full and --by-parts: given both, expected one",
                hint="--full fetches everything, --by-parts what is damaged",
            )
        from release.claims.beside import claims_beside
        from release.download import open_ranges
        from release.formats.input import InputFile
        from release.repair.choose import require_named
        from release.repair.repair import repair as run
        from release.repair.report import RepairOptions
        from release.threads import choose_threads

        InputFile(path).close()  # nobody is asked about a file that cannot be read
        options = RepairOptions(
            plans_only=dry_run, full=full, by_parts=by_parts, keep=keep
        )
        with _saying_what_is_left(console, path):
            if against is None:
                claims = claims_beside(path)
            else:
                claims = read_against(against, console)
                require_named(path, claims, what=visible(against, 1024))
            with open_ranges(source, path, claims, note=console.note) as opened:
                report = run(
                    path,
                    opened.ranges,
                    claims,
                    options,
                    from_source=opened.claims,
                    threads=choose_threads(threads),
                    progress=console,
                )
        console.result(
            "krelease.repair/1",
            _document(report),
            _text(report),
            brief=[visible(report.path, 4096)] if report.outcome != "intact" else [],
        )


@contextmanager
def _saying_what_is_left(console: "Console", path: Path) -> Iterator[None]:
    from release.repair.copy import copy_path

    try:
        yield
    except (ReleaseError, SignalError) as error:
        left = copy_path(path)
        if left.is_file():
            line = f"{visible(left, 1024)} is kept: the same command goes on from it"
            console.keeps(line)
            if isinstance(error, ReleaseError):
                console.note(line)
        raise


def _document(report: "RepairReport") -> dict[str, object]:
    return {
        "path": str(report.path),
        "source": report.source,
        "outcome": report.outcome,
        "told_by": report.told_by,
        "nbytes": report.nbytes,
        "damaged_nbytes": report.fault.damaged_nbytes,
        "missing_nbytes": report.fault.missing_nbytes,
        "surplus_nbytes": report.fault.surplus_nbytes,
        "ranges": [list(each) for each in report.fault.ranges],
        "to_fetch_nbytes": report.to_fetch_nbytes,
        "fetched_nbytes": report.fetched_nbytes,
        "n_ranges": report.n_ranges,
        "checked": report.checked,
        "digest": report.digest,
        "kept": str(report.kept) if report.kept else None,
    }


def _text(report: "RepairReport") -> list[str]:
    name = visible(report.path, 1024)
    fetched, to_fetch = _bytes(report.fetched_nbytes), _bytes(report.to_fetch_nbytes)
    origin = f"of {_bytes(report.nbytes)} from {report.source}"
    if report.outcome == "intact":
        lines = [f"intact: {name}", f"fetched {fetched}"]
    elif report.outcome == "damaged":
        lines = [f"damaged: {name}: {_fault(report)}"]
        lines.append(f"a repair fetches {to_fetch} {origin}")
    else:
        lines = [f"repaired: {name}: it had {_fault(report)}"]
        lines.append(f"fetched {fetched} {origin}")
    if report.checked:
        digest = f" {report.digest}" if report.digest else ""
        lines.append(f"checked by {report.checked}{digest}")
        if "xxh3" in report.checked:
            lines.append("xxh3 finds accidental damage; identity was not checked")
    lines.append(f"what the file must be was told by {report.told_by}")
    if report.kept is not None:
        lines.append(f"the damaged file is now {visible(report.kept, 1024)}")
    return lines


def _fault(report: "RepairReport") -> str:
    fault = report.fault
    parts = (
        (fault.damaged_nbytes, "damaged"),
        (fault.missing_nbytes, "missing"),
        (fault.surplus_nbytes, "too many"),
    )
    found = [f"{_bytes(nbytes)} {what}" for nbytes, what in parts if nbytes]
    return ", ".join(found) or "no damaged part"


def _bytes(nbytes: int) -> str:
    return (
        f"{nbytes:,} bytes ({size_text(nbytes)})"
        if nbytes >= 1000
        else f"{nbytes} bytes"
    )
