"""Convert: one checkpoint to other dtypes, through the engine with one ingredient."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from release.architecture.sdxl import component_of, detect, is_copied
from release.engine.execute import execute, total_nbytes
from release.engine.plan import (
    Ingredient,
    OutputRequest,
    Plan,
    TensorSource,
    plan_pass,
)
from release.engine.results import OutputReport
from release.errors import CheckpointError, first_names
from release.formats.checkpoint import Checkpoint
from release.metadata import STAND_IN_KEY, VARIANT_KEY
from release.progress import Progress
from release.variants import Preset, assign_dtypes

_KEPT_KEYS: Final = ("format", "sd_merge_recipe", "sd_merge_models", STAND_IN_KEY)
_KEPT_PREFIX: Final = "modelspec."
_SCALE_SUFFIXES: Final = (
    ".scale_weight",
    ".scale_input",
    ".weight_scale",
    ".weight_scale_inv",
    ".input_scale",
    ".comfy_quant",
    "scaled_fp8",
)


@dataclass(frozen=True, slots=True)
class ConvertPlan:
    """What a conversion will do.

    `dropped` names metadata that is not carried over; `warnings` are one line each.
    """

    architecture: str
    passes: Plan
    dropped: tuple[str, ...]
    warnings: tuple[str, ...]


def plan_convert(
    checkpoint: Checkpoint, presets: Sequence[Preset], *, stem: str
) -> ConvertPlan:
    """Plan the conversion of `checkpoint` to every preset, in one reading.

    Args:
        checkpoint: The source, open.
        presets: The variants to write.
        stem: What the file names start with; `-PRESET.safetensors` follows.

    Raises:
        CheckpointError: No tensors, or weights that are meaningless without scales.
    """
    _check_convertible(checkpoint)
    shapes = {name: entry.shape for name, entry in checkpoint.tensors.items()}
    architecture = detect(shapes)
    sources = {
        name: TensorSource(
            shape=entry.shape,
            component=component_of(name).value,
            copied=is_copied(name, entry.dtype),
            operands=((0, 1.0),),
        )
        for name, entry in checkpoint.tensors.items()
    }
    kept, dropped = _metadata(checkpoint.metadata)
    requests = [
        OutputRequest(
            variant=preset.name,
            name=f"{stem}-{preset.name}.safetensors",
            dtypes=assign_dtypes(preset, checkpoint.tensors, architecture=architecture),
            metadata={**kept, VARIANT_KEY: preset.name},
        )
        for preset in presets
    ]
    source = Ingredient("source", checkpoint)
    return ConvertPlan(
        architecture=architecture,
        passes=plan_pass([source], sources, requests),
        dropped=dropped,
        warnings=_warnings(presets, architecture, requests, checkpoint),
    )


def convert(
    plan: ConvertPlan,
    folder: Path,
    *,
    threads: int,
    progress: Progress,
    overwrite: bool = False,
) -> tuple[OutputReport, ...]:
    """Carry out a plan; the outputs appear in `folder`, or none does.

    Raises:
        ValueRangeError: A value that the target dtype cannot hold, or that is NaN.
        OutputError: A target exists, there is no room, or a write failed.
    """
    with progress.stage("convert", total_nbytes(plan.passes)) as advance:
        report = execute(
            plan.passes, folder, threads=threads, advance=advance, overwrite=overwrite
        )
    return report.outputs


def _check_convertible(checkpoint: Checkpoint) -> None:
    if not checkpoint.tensors:
        raise CheckpointError(
            checkpoint.path,
            "holds no tensors",
            code="no-tensors",
            hint="check the file",
        )
    scales = [name for name in checkpoint.tensors if name.endswith(_SCALE_SUFFIXES)]
    if scales:
        raise CheckpointError(
            checkpoint.path,
            f"holds scaled weights ({len(scales):,} scale or marker tensors: "
            f"{first_names(sorted(scales))}), which this version does not read",
            code="scaled-weights",
            hint="convert the file that it was made from",
        )


def _warnings(
    presets: Sequence[Preset],
    architecture: str,
    requests: Sequence[OutputRequest],
    checkpoint: Checkpoint,
) -> tuple[str, ...]:
    """Say where an unknown architecture makes a preset do less than it promises."""
    found = []
    for preset, request in zip(presets, requests, strict=True):
        kept = [
            name
            for name, entry in checkpoint.tensors.items()
            if request.dtypes[name] is entry.dtype
        ]
        if architecture == "unknown" and preset.reduced and kept:
            found.append(
                f"unknown architecture: {preset.name} casts only weights that are "
                f"surely of Linear and Conv modules, and keeps {len(kept):,} of "
                f"{len(checkpoint.tensors):,} tensors as they are"
            )
    return tuple(found)


def _metadata(
    metadata: Mapping[str, str],
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return what is carried over, and the names of what is not.

    Only keys whose meaning survives a cast are kept; the rest may hold prompts, paths
    or digests that no longer hold.
    """
    kept = {
        key: value
        for key, value in metadata.items()
        if key in _KEPT_KEYS or key.startswith(_KEPT_PREFIX)
    }
    dropped = tuple(sorted(metadata.keys() - kept.keys()))
    return {"format": "pt", **kept}, dropped
