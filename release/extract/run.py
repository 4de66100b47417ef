"""Carrying out an extraction: factors, layer by layer, and the finished file."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from release.engine.plan import ingredients_text
from release.extract.models import Models
from release.extract.plan import ExtractPlan, Layer, operands
from release.formats.checkpoint import Checkpoint
from release.formats.output import OutputFile, make_room
from release.formats.tensor import tensor_set
from release.metadata import INGREDIENTS_KEY
from release.progress import Progress

if TYPE_CHECKING:
    from release.engine.extract import LayerJob


@dataclass(frozen=True, slots=True)
class LayerReport:
    """One layer of the LoRA.

    `relative_error` is the Frobenius norm of what its factors miss, divided by that of
    the difference.
    """

    layer: Layer
    relative_error: float

    @property
    def snr_db(self) -> float:
        """Signal to noise in decibels; infinite where nothing is missing."""
        return snr_db(self.relative_error)


@dataclass(frozen=True, slots=True)
class ExtractReport:
    """What was written.

    Attributes:
        plan: What was planned.
        layers: Every layer of the LoRA.
        tensor_set_xxh3_128: Digest of the file's tensors.
        data_sha256: SHA-256 of its data section.
        xxh3_128: Of the whole file.
    """

    plan: ExtractPlan
    layers: tuple[LayerReport, ...]
    tensor_set_xxh3_128: str
    data_sha256: str
    xxh3_128: str

    @property
    def relative_error(self) -> float:
        """Of all layers together."""
        return total_error(self.layers)


def total_error(reports: Iterable[LayerReport]) -> float:
    """Return the relative error of several layers together, as of one difference."""
    known = list(reports)
    whole = math.fsum(each.layer.square for each in known)
    missing = math.fsum(each.layer.square * each.relative_error**2 for each in known)
    return math.sqrt(missing / whole)


def snr_db(relative_error: float) -> float:
    """Return signal to noise in decibels for a relative error; infinite for 0."""
    return math.inf if relative_error == 0.0 else -20.0 * math.log10(relative_error)


def extract(
    plan: ExtractPlan, *, threads: int, progress: Progress, overwrite: bool = False
) -> ExtractReport:
    """Write the LoRA; the file appears complete, or not at all.

    Args:
        plan: From `plan_extract`; its models are open.
        threads: Worker threads, from 1; the bytes do not depend on it.
        progress: Told how far it is.
        overwrite: Whether the file may be replaced.

    Raises:
        ValueRangeError: A layer holds values that are not finite, or its factors are
            beyond the dtype.
        InputError: A file changed meanwhile.
        OutputError: The target exists, there is no room, or a write failed.
    """
    from release.engine.extract import seal, write_layers

    output, checkpoints = plan.output, _checkpoints(plan.models)
    make_room(plan.path.parent, output.nbytes)
    with OutputFile.create(plan.path, output.nbytes, overwrite=overwrite) as file:
        jobs = _jobs(plan)
        with progress.stage("extract", sum(job.read_nbytes for job in jobs)) as advance:
            results = write_layers(
                checkpoints,
                jobs,
                output,
                file,
                dtype=plan.options.dtype,
                threads=threads,
                advance=advance,
            )
        for checkpoint in checkpoints:
            checkpoint.check_unchanged()
        digests = {
            name: digest for each in results for name, digest in each.digests.items()
        }
        facts = {INGREDIENTS_KEY: ingredients_text(plan.ingredients)}
        with progress.stage("check", output.nbytes) as advance:
            sealed = seal(output, file, digests, facts, advance=advance)
        file.publish()
    return ExtractReport(
        plan=plan,
        layers=tuple(
            LayerReport(layer, result.relative_error)
            for layer, result in zip(plan.layers, results, strict=True)
        ),
        tensor_set_xxh3_128=tensor_set(output.entries, digests),
        data_sha256=sealed.data_sha256,
        xxh3_128=sealed.xxh3_128,
    )


def _checkpoints(models: Models) -> list[Checkpoint]:
    return [source.checkpoint for source in models.sources]


def _jobs(plan: ExtractPlan) -> "list[LayerJob]":
    from release.engine.extract import LayerJob

    first, second = (
        operands(ingredient, number)
        for number, ingredient in enumerate(plan.models.ingredients)
    )
    jobs = []
    for layer in plan.layers:
        module = layer.module
        tensor = module.place.tensor
        jobs.append(
            LayerJob(
                names=(layer.up, layer.down, layer.alpha),
                operands=(first[tensor], second[tensor]),
                start=module.place.part * math.prod(module.shape),
                shape=module.shape,
                rank=layer.rank,
            )
        )
    return jobs
