"""`krelease extract`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from release.cli.app import session
from release.cli.options import (
    DryRunOption,
    ForceOption,
    JsonOption,
    QuietOption,
    ThreadsOption,
    UnverifiedOption,
)
from release.errors import UsageError, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from release.extract.plan import ExtractPlan
    from release.extract.run import ExtractReport, LayerReport

_SUFFIX = ".safetensors"
_MAX_RANK = 1024
_DTYPES = {"fp16": "F16", "fp32": "F32"}
_N_WORST = 5


def extract(
    before: Annotated[
        Path, typer.Argument(metavar="A", help="The model that the LoRA is for.")
    ],
    after: Annotated[
        Path, typer.Argument(metavar="B", help="The model that A is to become.")
    ],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FILE", help="The LoRA, a .safetensors file."),
    ],
    rank: Annotated[
        int,
        typer.Option(
            "--rank",
            metavar="N",
            min=1,
            max=_MAX_RANK,
            help="Of every layer, where its shape allows it.",
        ),
    ] = 64,
    dtype: Annotated[
        str, typer.Option("--dtype", metavar="fp16|fp32", help="Of the factors.")
    ] = "fp16",
    unverified: UnverifiedOption = False,
    threads: ThreadsOption = None,
    dry_run: DryRunOption = False,
    force: ForceOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write what B has and A has not, B - A, as a LoRA of low rank.

    The file has kohya's names; A plus the LoRA at strength 1 is B, as nearly as the
    rank allows. Linear layers and convolutions of U-Net and text encoders are held;
    what else differs is named. The error of every layer is measured: --json has all.

    Example: krelease extract base.safetensors tuned.safetensors --rank 64
    --out tuned-lora.safetensors
    """
    with session(as_json=json, quiet=quiet) as console:
        from release.extract.models import open_models
        from release.extract.plan import ExtractOptions, plan_extract
        from release.extract.run import extract as run
        from release.numeric.dtype import BY_CODE
        from release.threads import choose_threads

        _check(out, dtype)
        options = ExtractOptions(
            rank=rank, dtype=BY_CODE[_DTYPES[dtype]], trusts=unverified
        )
        n_threads, brief = choose_threads(threads), [visible(out, 4096)]
        with open_models(before, after) as models:
            for line in models.warnings:
                console.warn(line)
            plan = plan_extract(
                models,
                options,
                out,
                threads=n_threads,
                progress=console,
                overwrite=force,
            )
            if dry_run:
                console.result(
                    "krelease.extract-plan/1",
                    _plan_document(plan, dtype),
                    _plan_text(plan),
                    brief=brief,
                )
                return
            done = run(plan, threads=n_threads, progress=console, overwrite=force)
            document = _document(done, dtype)
            console.result("krelease.extract/1", document, _text(done), brief=brief)


def _check(out: Path, dtype: str) -> None:
    if out.suffix.lower() != _SUFFIX:
        raise UsageError(
            f"--out {visible(out)}: expected the name of a {_SUFFIX} file",
            code="extract-out",
            hint=f"for example --out lora{_SUFFIX}",
        )
    if dtype not in _DTYPES:
        raise UsageError(
            f"--dtype {visible(dtype)}: expected {' or '.join(_DTYPES)}",
            code="extract-dtype",
            hint="leave it out for fp16",
        )


def _plan_document(plan: "ExtractPlan", dtype: str) -> dict[str, Any]:
    return {
        "path": str(plan.path),
        "nbytes": plan.output.nbytes,
        "rank": plan.options.rank,
        "dtype": dtype,
        "architecture": plan.models.before.architecture,
        "ingredients": dict(plan.ingredients),
        "n_layers": len(plan.layers),
        "unchanged": [module.name for module in plan.unchanged],
        "unheld": [{"name": each.name, "reason": each.reason} for each in plan.unheld],
    }


def _document(report: "ExtractReport", dtype: str) -> dict[str, Any]:
    return {
        **_plan_document(report.plan, dtype),
        "tensor_set_xxh3_128": report.tensor_set_xxh3_128,
        "data_sha256": report.data_sha256,
        "xxh3_128": report.xxh3_128,
        "relative_error": report.relative_error,
        "layers": [_layer_document(each) for each in report.layers],
    }


def _layer_document(report: "LayerReport") -> dict[str, Any]:
    module = report.layer.module
    rows = module.shape[0]
    first = module.place.part * rows
    return {
        "name": module.name,
        "tensor": module.place.tensor,
        "rows": [first, first + rows],
        "shape": list(module.shape),
        "rank": report.layer.rank,
        "relative_error": report.relative_error,
        "snr_db": _snr(report.relative_error),
    }


def _plan_text(plan: "ExtractPlan") -> list[str]:
    from release.numeric.size import size_text

    size = size_text(plan.output.nbytes)
    lines = [f"{visible(plan.path, 1024)}: {size}, rank {plan.options.rank}"]
    lines.append(f"{len(plan.layers):,} layers differ")
    if plan.unchanged:
        lines.append(f"{len(plan.unchanged):,} do not, and are left out")
    cut = sum(layer.rank < plan.options.rank for layer in plan.layers)
    if cut:
        lines.append(f"{cut:,} are too small for that rank and have a lower one")
    return [*lines, *_unheld_text(plan)]


def _unheld_text(plan: "ExtractPlan") -> list[str]:
    from release.errors import first_names

    by_reason: dict[str, list[str]] = {}
    for each in plan.unheld:
        by_reason.setdefault(each.reason, []).append(each.name)
    return [
        f"differs and is not held ({reason}): {len(names):,}: {first_names(names, 3)}"
        for reason, names in sorted(by_reason.items())
    ]


def _text(report: "ExtractReport") -> list[str]:
    from release.architecture.sdxl import component_of
    from release.console import columns

    parts: dict[str, list[LayerReport]] = {}
    for each in report.layers:
        component = component_of(each.layer.module.place.tensor)
        parts.setdefault(component.value, []).append(each)
    worst = sorted(report.layers, key=lambda each: -each.relative_error)[:_N_WORST]
    rows = [["part", "layers", "error", "SNR dB"]]
    for title, layers in [*sorted(parts.items()), ("all", report.layers)]:
        rows.append([title, f"{len(layers):,}", *_figures(layers)])
    return [
        *_plan_text(report.plan),
        "",
        *columns(rows, right=(1, 2, 3)),
        "",
        "layers with the largest error (--json has all)",
        *columns([[each.layer.module.name, *_figures([each])] for each in worst]),
    ]


def _figures(layers: "Sequence[LayerReport]") -> list[str]:
    """Return the error of some layers together, and its decibels."""
    from release.extract.run import total_error

    error = total_error(layers)
    snr = _snr(error)
    return [f"{error:.3%}", "exact" if snr is None else f"{snr:.2f}"]


def _snr(relative_error: float) -> float | None:
    """Return decibels; None for infinitely many, which JSON cannot say."""
    from release.extract.run import snr_db

    return None if relative_error == 0.0 else snr_db(relative_error)
