"""`krelease convert`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from release.cli.app import session
from release.cli.options import (
    DryRunOption,
    ForceOption,
    JsonOption,
    QuietOption,
    ThreadsOption,
)
from release.numeric.size import size_text

if TYPE_CHECKING:
    from release.console import Console
    from release.convert import ConvertPlan
    from release.engine.results import OutputReport


def convert(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="A safetensors checkpoint.")
    ],
    to: Annotated[
        list[str],
        typer.Option(
            "--to",
            metavar="VARIANT",
            help="fp32, fp16, bf16 or fp8. Repeat it for several in one reading.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder for the results. If not given: that of FILE.",
        ),
    ] = None,
    dry_run: DryRunOption = False,
    force: ForceOption = False,
    threads: ThreadsOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Convert a checkpoint to other dtypes, and say what that cost.

    Writes FILE-VARIANT.safetensors. In fp8 only the U-Net's Linear and Conv2d weights
    are cast; text encoders, VAE and norms stay fp16.

    Example: krelease convert model.safetensors --to fp16 --to fp8
    """
    with session(as_json=json, quiet=quiet) as console:
        from release.errors import first_names
        from release.formats.checkpoint import open_checkpoint
        from release.threads import choose_threads
        from release.variants import find_preset

        presets = [find_preset(name) for name in dict.fromkeys(to)]
        n_threads = choose_threads(threads)
        folder = out or path.parent
        with open_checkpoint(path) as checkpoint:
            from release.convert import convert as run  # torch: refusals come first
            from release.convert import plan_convert

            plan = plan_convert(checkpoint, presets, stem=path.stem)
            paths = [str(folder / output.name) for output in plan.passes.outputs]
            if dry_run:
                document, text = _planned(plan, folder)
                console.result("krelease.convert-plan/1", document, text, brief=paths)
                return
            for warning in plan.warnings:
                console.warn(warning)
            if plan.dropped:
                console.note(f"metadata not carried over: {first_names(plan.dropped)}")
            with _existing(folder):
                reports = run(
                    plan, folder, threads=n_threads, progress=console, overwrite=force
                )
        document = {
            "source": str(path),
            "architecture": plan.architecture,
            "dropped_metadata": list(plan.dropped),
            "outputs": [_output(report, folder) for report in reports],
        }
        _warn_of_clamping(console, reports)
        console.result(
            "krelease.convert/1", document, _text(reports, folder), brief=paths
        )


def _warn_of_clamping(console: "Console", reports: "Sequence[OutputReport]") -> None:
    for report in reports:
        if report.deviation.clamped:
            console.warn(
                f"{report.plan.name}: {report.deviation.clamped:,} values were too "
                "large for fp8 and were clamped"
            )


@contextmanager
def _existing(folder: Path) -> Iterator[None]:
    """Create a folder that does not exist; after a failure it is gone again."""
    from release.formats.space import write_failure

    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_failure(folder, error) from error
    try:
        yield
    except BaseException:
        for each in missing:
            with suppress(OSError):  # somebody else has put something there
                each.rmdir()
        raise


def _planned(plan: "ConvertPlan", folder: Path) -> tuple[dict[str, object], list[str]]:
    from release.console import columns
    from release.formats.space import free_bytes, room_for
    from release.records import count_dtypes

    outputs = plan.passes.outputs
    free = free_bytes(folder)
    needed = room_for(sum(output.nbytes for output in outputs))
    document: dict[str, object] = {
        "architecture": plan.architecture,
        "dropped_metadata": list(plan.dropped),
        "outputs": [
            {
                "path": str(folder / output.name),
                "variant": output.variant,
                "nbytes": output.nbytes,
                "dtypes": count_dtypes(output.entries),
                "exists": (folder / output.name).exists(),
            }
            for output in outputs
        ],
        "needed_nbytes": needed,
        "free_nbytes": free,
    }
    text = columns(
        [
            [
                str(folder / output.name),
                f"{output.nbytes:,} bytes",
                size_text(output.nbytes),
                ", ".join(
                    f"{n:,} {code}" for code, n in count_dtypes(output.entries).items()
                ),
            ]
            for output in outputs
        ],
        right=[1, 2],
    )
    fits = "" if needed <= free else ": does not fit"
    text.append(f"Disk: needs {size_text(needed)}, {size_text(free)} free{fits}")
    text += [
        f"Note: {folder / output.name} already exists; pass --force to replace it"
        for output in outputs
        if (folder / output.name).exists()
    ]
    return document, text


def _text(reports: Sequence["OutputReport"], folder: Path) -> list[str]:
    from release.cli.built import parity_lines
    from release.console import columns
    from release.records import parity_record

    rows = [
        [str(folder / each.plan.name), size_text(each.plan.nbytes)] for each in reports
    ]
    measured = [(r.plan.variant, parity_record(r.deviation)) for r in reports]
    return [
        *columns(rows, right=[1]),
        "Against the source",
        *parity_lines(measured),
    ]


def _output(report: "OutputReport", folder: Path) -> dict[str, object]:
    from release.records import checkpoint_record

    record = checkpoint_record(report).model_dump(mode="json")
    for bulky in ("tensors", "chunks", "chunk_nbytes", "role"):
        del record[bulky]
    return {"path": str(folder / report.plan.name), **record}
