"""Carrying out a conversion: the pass, and what goes beside the checkpoints."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from release.convert.losses import (
    Converted,
    check_losses,
    too_lossy,
    variant_loss,
)
from release.convert.plan import ConvertPlan, plan_outputs
from release.convert.record import conversion_record
from release.convert.sidecars import Sidecars
from release.engine.execute import PassOptions, execute, survey, total_nbytes
from release.engine.results import Deviation, PassReport
from release.errors import ValueRangeError
from release.progress import Progress


def refine(plan: ConvertPlan, *, threads: int, progress: Progress) -> ConvertPlan:
    """Return the plan with tensors kept in F16 that would lose too much in fp8.

    What each loses is measured in a reading of its own, which writes nothing. Without
    `min_snr` the plan is returned as it is.

    Raises:
        ValueRangeError: A value that the target dtype cannot hold, or that is NaN.
    """
    limit = plan.options.min_snr
    if limit is None:
        return plan
    with (
        _bad_values(plan),
        progress.stage("measure", plan.passes.read_nbytes) as advance,
    ):
        outputs = survey(plan.passes, threads=threads, advance=advance)
    kept = {
        variant.preset.name: too_lossy(variant, tensors, min_snr=limit)
        for variant, tensors in zip(
            plan.variants, _by_variant(plan, outputs), strict=True
        )
    }
    return plan_outputs(plan.material, plan.options, kept=kept)


def convert(
    plan: ConvertPlan,
    folder: Path,
    *,
    threads: int,
    progress: Progress,
    overwrite: bool = False,
) -> tuple[Converted, ...]:
    """Carry out a plan; the outputs appear below `folder`, or none does.

    Args:
        plan: From `plan_outputs`, or `refine`.
        folder: Where the files go; made if it does not exist.
        threads: Worker threads, from 1.
        progress: Told how far it is.
        overwrite: Whether existing files may be replaced.

    Raises:
        ValueRangeError: A value that the target dtype cannot hold, or that is NaN.
        ParityError: A tensor loses more than `fail_below` allows.
        OutputError: A target exists, there is no room, or a write failed.
    """
    converted: list[Converted] = []

    def accept(report: PassReport) -> None:
        converted.extend(_converted(plan, report))
        sidecars.fill(
            {
                each.plan.files.record_name: conversion_record(
                    plan, each, report
                ).to_json()
                for each in converted
            }
        )
        sidecars.publish()

    with ExitStack() as stack:
        sidecars = stack.enter_context(Sidecars(plan, folder, overwrite=overwrite))
        stack.enter_context(_bad_values(plan))
        with progress.stage(plan.material.verb, total_nbytes(plan.passes)) as advance:
            execute(
                plan.passes,
                folder,
                threads=threads,
                advance=advance,
                options=PassOptions(
                    overwrite=overwrite,
                    identifies=plan.options.identifies,
                    trusts=plan.options.trusts,
                ),
                accept=accept,
            )
            sidecars.keep()
    return tuple(converted)


@contextmanager
def _bad_values(plan: ConvertPlan) -> Iterator[None]:
    """Name the source, and the options of a conversion, in what the engine refuses."""
    try:
        yield
    except ValueRangeError as error:
        if error.code != ValueRangeError.default_code:
            raise
        sources = [each.checkpoint.path for each in plan.passes.ingredients]
        raise ValueRangeError(
            error.path if error.path in sources else plan.source.checkpoint.path,
            error.reason,
            hint="nothing was written: what is beyond a dtype's range becomes its edge "
            "with --clamp, and fits bf16 or fp32; NaN and infinity have to be mended "
            "in the source",
        ) from error


def _converted(plan: ConvertPlan, report: PassReport) -> list[Converted]:
    reports = iter(report.outputs)
    found = []
    for variant in plan.variants:
        parts = tuple(next(reports) for _ in variant.files.parts)
        tensors = {
            name: deviation
            for part in parts
            for name, deviation in part.tensors.items()
        }
        check_losses(plan, variant, tensors)
        loss = variant_loss(plan, variant, tensors)
        found.append(Converted(variant, parts, loss))
    return found


def _by_variant(
    plan: ConvertPlan, outputs: Sequence[Mapping[str, Deviation]]
) -> list[dict[str, Deviation]]:
    """Return tensor name -> deviation for each variant, from those of its parts."""
    rest = iter(outputs)
    return [
        {
            name: deviation
            for _ in variant.files.parts
            for name, deviation in next(rest).items()
        }
        for variant in plan.variants
    ]
