"""`krelease convert`."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from release.architecture.ema import EmaMode
from release.cli.app import session
from release.cli.options import (
    DryRunOption,
    ForceOption,
    JsonOption,
    QuietOption,
    ThreadsOption,
    UnverifiedOption,
)
from release.errors import UsageError, first_names, visible
from release.numeric.size import parse_size

if TYPE_CHECKING:
    from release.console import Console
    from release.convert.plan import ConvertPlan

SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A .safetensors, .ckpt, .pt, .pth or .bin file, a shard or index, a"
        " diffusers folder, or hf://OWNER/REPO[@REVISION]/FILE.",
    ),
]
ToOption = Annotated[
    list[str],
    typer.Option(
        "--to",
        metavar="PRESET",
        help="What `krelease presets` lists. Repeat it for several in one reading.",
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Folder for the results. If not given: that of SOURCE.",
    ),
]
RulesOption = Annotated[
    Path | None,
    typer.Option(
        "--rules",
        metavar="FILE",
        help="Own rules (TOML) before those of the preset; `krelease presets fp8"
        " --toml` prints some to begin with.",
    ),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="SIZE",
        help="Several files with at most this much of tensors each, such as 5GB.",
    ),
]
KeepLayoutOption = Annotated[
    bool,
    typer.Option("--keep-layout", help="A diffusers folder becomes a folder again."),
]
FolderVariantOption = Annotated[
    str | None,
    typer.Option(
        "--folder-variant",
        metavar="NAME",
        help="Which weights of a diffusers folder, such as fp16.",
    ),
]
EmaOption = Annotated[
    EmaMode,
    typer.Option(
        "--ema",
        help="What becomes of the moving averages of the weights (EMA) that a training"
        " checkpoint may hold; use puts them in the model's place.",
    ),
]
MinSnrOption = Annotated[
    float | None,
    typer.Option(
        "--min-snr",
        metavar="DB",
        min=0.0,
        help="Keep in fp16 every tensor whose signal-to-noise ratio in fp8 would be"
        " below this many decibels. Reads the source twice.",
    ),
]
FailBelowOption = Annotated[
    float | None,
    typer.Option(
        "--fail-below",
        metavar="DB",
        min=0.0,
        help="Write nothing if the signal-to-noise ratio of a tensor is below this many"
        " decibels (exit code 6).",
    ),
]
ClampOption = Annotated[
    bool,
    typer.Option(
        "--clamp",
        help="Set values that are too large for fp16 or bf16 to its largest value,"
        " instead of refusing them. In fp8 that is always done, and counted.",
    ),
]
KeepPrivateOption = Annotated[
    bool,
    typer.Option(
        "--keep-private", help="Keep metadata that holds prompts, workflows or paths."
    ),
]
AssumeScaledOption = Annotated[
    bool,
    typer.Option(
        "--assume-scaled",
        help="Multiply fp8 weights by the scales beside them even where nothing in the"
        " file says so; without it that is an error.",
    ),
]
StubGlobalsOption = Annotated[
    bool,
    typer.Option(
        "--stub-globals",
        help="Skip training objects beside the weights of a .ckpt; nothing of it runs.",
    ),
]
Sha256Option = Annotated[
    bool,
    typer.Option(
        "--sha256", help="Take the SHA-256 of each file, by which the Hub names it."
    ),
]


def convert(
    source: SourceArgument,
    to: ToOption,
    out: OutOption = None,
    rules: RulesOption = None,
    shard: ShardOption = None,
    keep_layout: KeepLayoutOption = False,
    folder_variant: FolderVariantOption = None,
    ema: EmaOption = EmaMode.DROP,
    min_snr: MinSnrOption = None,
    fail_below: FailBelowOption = None,
    clamp: ClampOption = False,
    keep_private: KeepPrivateOption = False,
    assume_scaled: AssumeScaledOption = False,
    stub_globals: StubGlobalsOption = False,
    unverified: UnverifiedOption = False,
    sha256: Sha256Option = False,
    dry_run: DryRunOption = False,
    force: ForceOption = False,
    threads: ThreadsOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Convert a checkpoint to other dtypes, and say what that cost.

    Writes SOURCE-fp8.safetensors for --to fp8, and a record of what was measured beside
    it. A suffix of the source that names a preset gives way to the new one.

    Example: krelease convert model.safetensors --to fp16 --to fp8
    """
    with session(as_json=json, quiet=quiet) as console:
        from release.cli.converted import (
            loss_warnings,
            plan_document,
            plan_text,
            result_document,
            result_text,
            written_paths,
        )
        from release.convert.options import ConvertOptions
        from release.convert.source import SourceOptions, open_source
        from release.download import local_path
        from release.threads import choose_threads
        from release.variants.parse import read_rules
        from release.variants.preset import find_preset

        if keep_layout and shard is not None:
            raise UsageError(
                "--shard and --keep-layout: expected one of the two",
                code="layout-options",
                hint="a folder that is kept has as many files as it had",
            )
        options = ConvertOptions(
            presets=tuple(find_preset(name) for name in dict.fromkeys(to)),
            rules=None if rules is None else read_rules(rules),
            shard_nbytes=None if shard is None else shard_nbytes(shard),
            keeps_private=keep_private,
            clamps=clamp,
            identifies=sha256,
            trusts=unverified,
            min_snr=decibels("--min-snr", min_snr),
            fail_below=decibels("--fail-below", fail_below),
        )
        reading = SourceOptions(
            keeps_layout=keep_layout,
            folder_variant=folder_variant,
            ema=ema,
            assumes_scaled=assume_scaled,
            stubs_globals=stub_globals,
        )
        n_threads = choose_threads(threads)
        path = local_path(source, note=console.note)
        folder = out or _folder_of(source, path)
        with open_source(path, reading) as opened:
            from release.convert.plan import plan_convert
            from release.convert.run import convert as run
            from release.convert.run import refine

            plan = plan_convert(opened, options)
            say(console, plan)
            plan = refine(plan, threads=n_threads, progress=console)
            say_kept(console, plan)
            paths = written_paths(plan, folder)
            if dry_run:
                console.result(
                    "krelease.convert-plan/1",
                    plan_document(plan, folder),
                    plan_text(plan, folder),
                    brief=paths,
                )
                return
            converted = run(
                plan, folder, threads=n_threads, progress=console, overwrite=force
            )
            for line in loss_warnings(converted):
                console.warn(line)
            console.result(
                "krelease.convert/1",
                result_document(plan, converted, folder, source=source),
                result_text(converted, folder),
                brief=paths,
            )


def say(console: "Console", plan: "ConvertPlan") -> None:
    """Say what was found in the source and what will happen to it."""
    from release.carried import Reason

    for line in plan.material.warnings:
        console.warn(line)
    for line in plan.material.notes:
        console.note(line)
    for variant in plan.variants:
        for line in variant.warnings:
            console.warn(line)
        for line in variant.notes:
            console.note(line)
    for dropped in plan.material.dropped:
        if dropped.reason is Reason.PRIVATE:
            console.note(
                f"metadata dropped: {visible(dropped.key)} ({dropped.detail}); "
                "--keep-private keeps it"
            )
        elif dropped.reason is Reason.TOO_LARGE:
            console.note(f"metadata dropped: {visible(dropped.key)} is too large")


def say_kept(console: "Console", plan: "ConvertPlan") -> None:
    """Name the tensors that stay fp16 because they would lose too much."""
    for variant in plan.variants:
        if variant.kept:
            console.note(
                f"{variant.preset.name}: {len(variant.kept):,} tensors stay fp16: "
                f"{first_names(variant.kept)}"
            )


def shard_nbytes(text: str) -> int:
    """Return the bytes of `--shard`.

    Raises:
        UsageError: It is no size.
    """
    try:
        return parse_size(text)
    except ValueError as error:
        raise UsageError(
            f"--shard {visible(text)}: expected a size",
            code="shard-size",
            hint="write it as 5GB, 500MB or 2GiB",
        ) from error


def decibels(option: str, value: float | None) -> float | None:
    """Return a threshold; with NaN or infinity every comparison would end one way."""
    if value is None or math.isfinite(value):
        return value
    raise UsageError(
        f"{option} {value}: expected a number of decibels",
        code="decibels",
        hint="for fp8, 20 to 30 dB are usual; nothing in it is above 32 dB",
    )


def _folder_of(source: str, path: Path) -> Path:
    """Return where results go if no folder was named: beside the source.

    Nobody looks into a cache, and `.` and `..` have no name to be beside.
    """
    from release.download import HUB_SCHEME

    if source.startswith(HUB_SCHEME):
        return Path()
    return path.parent if path.name not in {"", ".."} else path.resolve().parent
