"""`krelease convert`."""

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

if TYPE_CHECKING:
    from release.convert import ConvertPlan
    from release.engine.execute import OutputReport


def convert(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="A safetensors checkpoint.")
    ],
    to: Annotated[
        list[str],
        typer.Option(
            "--to",
            metavar="VARIANT",
            help="fp32, fp16, bf16 or fp8. Repeat for several in one reading.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder for the results.",
            show_default="FILE's",
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
        from release.console import size
        from release.convert import convert as run
        from release.convert import plan_convert
        from release.formats.checkpoint import open_checkpoint
        from release.threads import choose_threads
        from release.variants import find_preset

        presets = [find_preset(name) for name in dict.fromkeys(to)]
        with open_checkpoint(path) as checkpoint:
            plan = plan_convert(checkpoint, presets, stem=path.stem)
            folder = out or path.parent
            if dry_run:
                console.result("krelease.convert-plan/1", *_planned(plan, folder))
                return
            folder.mkdir(parents=True, exist_ok=True)
            if plan.dropped:
                console.note(f"metadata not carried over: {', '.join(plan.dropped)}")
            reports = run(
                plan,
                folder,
                threads=choose_threads(threads),
                progress=console,
                overwrite=force,
            )
        document = {
            "source": str(path),
            "architecture": plan.architecture,
            "dropped_metadata": list(plan.dropped),
            "outputs": [_output(report, folder) for report in reports],
        }
        text = [
            f"{folder / report.plan.name}: {size(report.plan.nbytes)}, "
            f"SNR {report.deviation.snr_db} dB, "
            f"max error {report.deviation.max_abs_error:.3g}, "
            f"{report.deviation.flushed:,} flushed to zero, "
            f"{report.deviation.clamped:,} clamped"
            for report in reports
        ]
        console.result("krelease.convert/1", document, text)


def _planned(plan: "ConvertPlan", folder: Path) -> tuple[dict[str, object], list[str]]:
    from release.console import size
    from release.records import count_dtypes

    outputs: list[dict[str, object]] = [
        {
            "path": str(folder / output.name),
            "variant": output.variant,
            "nbytes": output.nbytes,
            "dtypes": count_dtypes(output.entries),
        }
        for output in plan.passes.outputs
    ]
    text = [
        f"{folder / output.name}: {output.nbytes:,} bytes ({size(output.nbytes)}), "
        + ", ".join(f"{n:,} {code}" for code, n in count_dtypes(output.entries).items())
        for output in plan.passes.outputs
    ]
    return {"architecture": plan.architecture, "outputs": outputs}, text


def _output(report: "OutputReport", folder: Path) -> dict[str, object]:
    from release.records import checkpoint_record

    record = checkpoint_record(report).model_dump(mode="json")
    for bulky in ("tensors", "chunks", "chunk_nbytes", "role"):
        del record[bulky]
    return {"path": str(folder / report.plan.name), **record}
