"""`krelease parity`."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from release.architecture.ema import EmaMode
from release.cli.app import session
from release.cli.options import ForceOption, JsonOption, QuietOption, ThreadsOption
from release.errors import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from release.console import Console
    from release.convert.source import Source, SourceOptions

_SOURCE_HELP = (
    "a .safetensors, .ckpt, .pt, .pth or .bin file, a shard or index, a diffusers"
    " folder, or hf://OWNER/REPO[@REVISION]/FILE."
)
ToleranceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--tolerance",
        metavar="LIMIT",
        help="How far apart tensors may be: snr=30 (decibels), max-abs=1e-3,"
        " cosine=0.999 or ulp=2 (steps of the coarser dtype); with unet:snr=25 those of"
        " one component. Repeat it for several. It takes the place of the default,"
        " equal or equal after rounding.",
    ),
]


def parity(
    a: Annotated[
        str, typer.Argument(metavar="A", help=f"The reference: {_SOURCE_HELP}")
    ],
    b: Annotated[
        str, typer.Argument(metavar="B", help="What is compared with it: the same.")
    ],
    tolerance: ToleranceOption = None,
    ignore_missing: Annotated[
        bool,
        typer.Option(
            "--ignore-missing", help="Compare only the tensors that both have."
        ),
    ] = False,
    ema: Annotated[
        EmaMode,
        typer.Option(
            "--ema", help="What becomes of moving averages of the weights (EMA)."
        ),
    ] = EmaMode.KEEP,
    folder_variant: Annotated[
        str | None,
        typer.Option(
            "--folder-variant",
            metavar="NAME",
            help="Which weights of a diffusers folder, such as fp16.",
        ),
    ] = None,
    assume_scaled: Annotated[
        bool,
        typer.Option(
            "--assume-scaled",
            help="Multiply fp8 weights by the scales beside them even where nothing in"
            " the file says so; without it that is an error.",
        ),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE",
            help="Draw the SNR of every block: a .png or .svg file. Needs"
            " krelease[plots].",
        ),
    ] = None,
    force: ForceOption = False,
    threads: ThreadsOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say whether two checkpoints hold the same values.

    Any layouts and dtypes can be compared. Tensors pass if their bits or values are the
    same, or if one is the other rounded to its dtype, as for an fp8 file made from an
    fp16 one. Otherwise the exit code is 6. NaN is equal to NaN of the same bits; what
    is NaN or infinite in one file only never passes. Metadata is not compared. With
    --quiet, only the names of tensors that do not pass are printed.

    Example: krelease parity model.safetensors model-fp8.safetensors
    """
    with session(as_json=json, quiet=quiet) as console:
        from release.cli.compared import brief, document, text
        from release.convert.source import SourceOptions
        from release.parity.tolerance import Tolerances, parse_tolerance
        from release.pictures.file import PictureFile
        from release.threads import choose_threads

        tolerances = Tolerances([parse_tolerance(each) for each in tolerance or ()])
        picture = None if plot is None else PictureFile(plot, overwrite=force)
        n_threads = choose_threads(threads)
        options = SourceOptions(
            folder_variant=folder_variant,
            ema=ema,
            assumes_scaled=assume_scaled,
            stubs_globals=True,
        )
        with (
            _opened("A", a, options, console) as first,
            _opened("B", b, options, console) as second,
        ):
            from release.parity.compare import ParityOptions, compare
            from release.parity.refusal import raise_if_different

            report = compare(
                first,
                second,
                ParityOptions(tolerances, ignores_missing=ignore_missing),
                threads=n_threads,
                progress=console,
            )
        console.result(
            "krelease.parity/1", document(report), text(report), brief=brief(report)
        )
        if picture is not None:
            from release.parity.plot import heat_map_of

            picture.write(heat_map_of(report))
            console.note(f"plot: {visible(picture.path, 1024)}")
        raise_if_different(report)


@contextmanager
def _opened(
    side: str, name: str, options: "SourceOptions", console: "Console"
) -> "Iterator[Source]":
    """Open a side, and say what is to be known of it."""
    from release.download import local_path
    from release.parity.sides import open_side

    with open_side(local_path(name, note=console.note), options) as source:
        for line in source.notes:
            console.note(f"{side}: {line}")
        for line in source.warnings:
            console.warn(f"{side}: {line}")
        yield source
