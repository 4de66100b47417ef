"""`krelease convert`."""

from pathlib import Path
from typing import Annotated

import typer

from release.architecture.ema import EmaMode
from release.cli.app import session
from release.cli.converting import (
    ClampOption,
    FailBelowOption,
    MinSnrOption,
    Order,
    RulesOption,
    Sha256Option,
    ShardOption,
    carry_out,
    conversion_options,
)
from release.cli.options import (
    DryRunOption,
    ForceOption,
    JsonOption,
    QuietOption,
    ThreadsOption,
    UnverifiedOption,
)
from release.errors import UsageError

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
        from release.convert.source import SourceOptions, open_source
        from release.download import local_path
        from release.threads import choose_threads

        _check_layout(keep_layout=keep_layout, shard=shard)
        options = conversion_options(
            to=to,
            rules=rules,
            shard=shard,
            clamp=clamp,
            sha256=sha256,
            unverified=unverified,
            min_snr=min_snr,
            fail_below=fail_below,
            keep_private=keep_private,
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
        order = Order("convert", source, folder, n_threads, dry_run, force)
        with open_source(path, reading) as opened:
            from release.convert.plan import plan_convert

            carry_out(console, plan_convert(opened, options), order)


def _check_layout(*, keep_layout: bool, shard: str | None) -> None:
    if keep_layout and shard is not None:
        raise UsageError(
            "--shard and --keep-layout: expected one of the two",
            code="layout-options",
            hint="a folder that is kept has as many files as it had",
        )


def _folder_of(source: str, path: Path) -> Path:
    """Return where results go if no folder was named: beside the source.

    Nobody looks into a cache, and `.` and `..` have no name to be beside.
    """
    from release.download import HUB_SCHEME

    if source.startswith(HUB_SCHEME):
        return Path()
    return path.parent if path.name not in {"", ".."} else path.resolve().parent
