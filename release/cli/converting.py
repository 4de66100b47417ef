"""What `krelease convert` and `krelease merge` share: options, and what follows."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from release.errors import UsageError, first_names, visible
from release.numeric.size import parse_size

if TYPE_CHECKING:
    from release.console import Console
    from release.convert.options import ConvertOptions
    from release.convert.plan import ConvertPlan

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
Sha256Option = Annotated[
    bool,
    typer.Option(
        "--sha256", help="Take the SHA-256 of each file, by which the Hub names it."
    ),
]


@dataclass(frozen=True, slots=True)
class Order:
    """How a planned conversion is to be carried out and shown.

    Attributes:
        command: "convert" or "merge", for the schema of the document.
        source: What the document calls the source.
        folder: Where the results go.
        threads: Worker threads, from 1.
        is_dry: Whether only the plan is shown.
        overwrites: Whether files may be replaced.
        facts: What both documents begin with.
    """

    command: str
    source: str
    folder: Path
    threads: int
    is_dry: bool
    overwrites: bool
    facts: Mapping[str, object] = field(default_factory=dict)


def conversion_options(
    *,
    to: list[str],
    rules: Path | None,
    shard: str | None,
    clamp: bool,
    sha256: bool,
    unverified: bool,
    min_snr: float | None,
    fail_below: float | None,
    keep_private: bool = False,
    file_stem: str = "",
) -> "ConvertOptions":
    """Return what is asked of a conversion, from the options of the same names.

    Raises:
        UsageError: An option does not hold what it should.
        RecipeError: The rules cannot be read.
    """
    from release.convert.options import ConvertOptions
    from release.variants.parse import read_rules
    from release.variants.preset import find_preset

    return ConvertOptions(
        presets=tuple(find_preset(name) for name in dict.fromkeys(to)),
        rules=None if rules is None else read_rules(rules),
        shard_nbytes=None if shard is None else _shard_nbytes(shard),
        keeps_private=keep_private,
        clamps=clamp,
        identifies=sha256,
        trusts=unverified,
        min_snr=_decibels("--min-snr", min_snr),
        fail_below=_decibels("--fail-below", fail_below),
        file_stem=file_stem,
    )


def carry_out(console: "Console", plan: "ConvertPlan", order: Order) -> None:
    """Refine a plan, and show it or do it and show what came of it.

    Raises:
        ReleaseError: As for `release.convert.run.convert`.
    """
    from release.cli import converted as shown
    from release.convert.run import convert, refine

    _say(console, plan)
    plan = refine(plan, threads=order.threads, progress=console)
    _say_kept(console, plan)
    folder, brief = order.folder, shown.written_paths(plan, order.folder)
    if order.is_dry:
        console.result(
            f"krelease.{order.command}-plan/1",
            {**order.facts, **shown.plan_document(plan, folder)},
            shown.plan_text(plan, folder),
            brief=brief,
        )
        return
    done = convert(
        plan,
        folder,
        threads=order.threads,
        progress=console,
        overwrite=order.overwrites,
    )
    for line in shown.loss_warnings(done):
        console.warn(line)
    console.result(
        f"krelease.{order.command}/1",
        {
            **order.facts,
            **shown.result_document(plan, done, folder, source=order.source),
        },
        shown.result_text(done, folder),
        brief=brief,
    )


def _say(console: "Console", plan: "ConvertPlan") -> None:
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


def _say_kept(console: "Console", plan: "ConvertPlan") -> None:
    """Name the tensors that stay fp16 because they would lose too much."""
    for variant in plan.variants:
        if variant.kept:
            console.note(
                f"{variant.preset.name}: {len(variant.kept):,} tensors stay fp16: "
                f"{first_names(variant.kept)}"
            )


def _shard_nbytes(text: str) -> int:
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


def _decibels(option: str, value: float | None) -> float | None:
    """Return a threshold; with NaN or infinity every comparison would end one way."""
    if value is None or math.isfinite(value):
        return value
    raise UsageError(
        f"{option} {value}: expected a number of decibels",
        code="decibels",
        hint="for fp8, 20 to 30 dB are usual; nothing in it is above 32 dB",
    )
