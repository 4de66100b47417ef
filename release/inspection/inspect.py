"""Inspect: what is this file, and what could be done with it?

Only the header is read, and of the data what is tiny: positions and scales. A file of
seven gigabytes takes as long as one of seven kilobytes.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

from release.architecture.contents import Contents, Part, contents_of
from release.errors import first_names, visible
from release.inspection.advice import advise
from release.inspection.facts import (
    metadata_entries,
    missing_tensors,
    parts_of,
    prediction_of,
)
from release.inspection.position_ids import position_ids_of
from release.inspection.report import (
    Inspection,
    MetadataEntry,
    PartReport,
    PositionIds,
)
from release.inspection.subject import Subject, open_subject
from release.metadata import STAND_IN_KEY

_FP8_CODES = ("F8_E4M3", "F8_E5M2")
_SENSITIVE_PARTS = (Part.VAE, Part.CLIP_L, Part.CLIP_G, Part.TEXT_ENCODER)
_DESCRIBED = frozenset({Contents.LORA, Contents.VAE, Contents.TEXT_ENCODER})
"""What needs no known architecture to be told."""


def inspect(path: Path) -> Inspection:
    """Return what the checkpoint at `path` is.

    Raises:
        CheckpointError: It cannot be read.
    """
    with open_subject(path) as subject:
        return _inspect(subject)


def _inspect(subject: Subject) -> Inspection:
    checkpoint, architecture = subject.checkpoint, subject.architecture
    tensors = checkpoint.tensors
    parts = parts_of(tensors, auxiliary=subject.auxiliary)
    contents = contents_of(part.part for part in parts)
    positions = position_ids_of(checkpoint)
    missing, missing_optional = missing_tensors(tensors.keys(), architecture)
    metadata = metadata_entries(checkpoint.metadata)
    advice, note = advise(
        tensors,
        architecture,
        contents,
        layout=subject.layout,
        auxiliary=subject.auxiliary,
    )
    return Inspection(
        path=checkpoint.path,
        container=checkpoint.container,
        n_files=len(checkpoint.files),
        nbytes=checkpoint.nbytes,
        architecture=architecture,
        contents=contents,
        parts=parts,
        layout=subject.layout,
        prediction=subject.prediction
        or prediction_of(tensors.keys(), checkpoint.metadata, architecture),
        position_ids=positions,
        missing=missing,
        missing_optional=missing_optional,
        metadata=metadata,
        findings=(
            *_stand_in(checkpoint.metadata),
            *_architecture(architecture, contents),
            *_missing(missing),
            *_positions(positions),
            *subject.findings,
            *_sensitive_fp8(parts),
            *_ema(parts),
            *_private(metadata),
            *checkpoint.warnings,
        ),
        advice=advice,
        advice_note=note,
    )


def _stand_in(metadata: Mapping[str, str]) -> tuple[str, ...]:
    if STAND_IN_KEY not in metadata:
        return ()
    return ("stand-in: random values for rehearsals, not a model",)


def _architecture(architecture: str, contents: Contents) -> tuple[str, ...]:
    if architecture != "unknown" or contents in _DESCRIBED:
        return ()
    return ("unknown-architecture: its tensor names are none of SDXL, SD1 or SD2",)


def _missing(missing: Collection[str]) -> tuple[str, ...]:
    if not missing:
        return ()
    return (
        f"missing-tensors: {len(missing):,} that programs need: {first_names(missing)}",
    )


def _positions(positions: Collection[PositionIds]) -> tuple[str, ...]:
    return tuple(
        f"position-ids: {each.detail} in {visible(each.name)}, stored as {each.dtype}: "
        "prompts are misread"
        for each in positions
        if not each.is_right
    )


def _sensitive_fp8(parts: Collection[PartReport]) -> tuple[str, ...]:
    return tuple(
        f"damaged-by-fp8: {part.part.value} holds fp8 weights, which shows in "
        "images; only the U-Net bears it"
        for part in parts
        if part.part in _SENSITIVE_PARTS and any(c in part.dtypes for c in _FP8_CODES)
    )


def _ema(parts: Collection[PartReport]) -> tuple[str, ...]:
    return tuple(
        f"ema: {part.n_tensors:,} tensors hold a second, averaged copy of the network, "
        "which only training reads"
        for part in parts
        if part.part is Part.EMA
    )


def _private(metadata: Collection[MetadataEntry]) -> tuple[str, ...]:
    keys = [entry.key for entry in metadata if entry.private]
    if not keys:
        return ()
    return (f"private-metadata: may not be meant for others: {first_names(keys)}",)
