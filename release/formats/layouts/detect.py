"""Which layout a checkpoint's fp8 weights are in; no scale is dropped silently.

The order of questions: quantization entries; a marker; a quantization_config; scales
that nothing explains; fp8 without scales; no fp8.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from release.errors import first_names
from release.formats.checkpoint import Checkpoint
from release.formats.layouts.claims import Claim, bind, check_tensors
from release.formats.layouts.comfy import (
    BLOCKWISE,
    METADATA_KEY,
    ROWWISE,
    read_entries,
)
from release.formats.layouts.configured import (
    quantization_config_beside,
    read_configured,
)
from release.formats.layouts.kinds import PLAIN, PLAIN_FP8, Layout
from release.formats.layouts.legacy import read_markers
from release.formats.layouts.names import (
    COMFY_QUANT,
    INPUT_SCALES,
    INVERSE_SCALE,
    LEGACY_SCALE,
    MARKER,
    SCALE,
    WEIGHT,
    Survey,
    member,
    survey_of,
)
from release.formats.layouts.notes import scaled_notes
from release.formats.layouts.refusals import (
    check_explained,
    check_mixture,
    check_unread,
)
from release.formats.layouts.shapes import ANY

_TITLES: Final = {
    PLAIN: "no fp8 weights",
    PLAIN_FP8: "fp8 weights without scales",
    "comfy-scaled": "scaled fp8 as ComfyUI writes it since late 2025",
    "rowwise": "scaled fp8 with a scale per row, for ComfyUI with an extension",
    "blockwise": "scaled fp8 with a scale per block, for ComfyUI with an extension",
    "comfy-scaled-legacy": "scaled fp8 as ComfyUI wrote it until late 2025",
    "compressed-tensors": "scaled fp8 of compressed-tensors",
    "deepseek": "scaled fp8 in blocks, as DeepSeek writes it",
    "kohya-scaled": "fp8 with .scale_weight and no marker, as trainers hold it",
    "orphan-scaled": "fp8 with .weight_scale and nothing that explains it",
    "orphan-deepseek": "fp8 with .weight_scale_inv and nothing that explains it",
}
"""Every layout's name, and what it is."""

_ORPHANS: Final = {
    LEGACY_SCALE: "kohya-scaled",
    SCALE: "orphan-scaled",
    INVERSE_SCALE: "orphan-deepseek",
}


@dataclass(frozen=True, slots=True)
class _Declared:
    """What a checkpoint says of itself: its layout, or "", and which scales it has."""

    name: str
    claims: tuple[Claim, ...]
    warnings: tuple[str, ...] = ()


def layout_of(checkpoint: Checkpoint, *, assume_scaled: bool = False) -> Layout:
    """Return how the fp8 weights of `checkpoint` are stored, as it lies on the disk.

    A config.json beside it is asked only if there are any: beside other files lie the
    configurations of whatever else is in the folder.

    Raises:
        CheckpointError: As for `detect_layout` and `quantization_config_beside`.
    """
    has_fp8 = any(entry.dtype.is_fp8 for entry in checkpoint.tensors.values())
    return detect_layout(
        checkpoint,
        quantization_config=quantization_config_beside(checkpoint.path)
        if has_fp8
        else None,
        assume_scaled=assume_scaled,
    )


def detect_layout(
    checkpoint: Checkpoint,
    *,
    quantization_config: Mapping[str, object] | None = None,
    assume_scaled: bool = False,
) -> Layout:
    """Return how the fp8 weights of `checkpoint` are stored.

    Names, dtypes and shapes decide; of the data, only quantization entries and scales
    of one element are read. Fp8 tensors without a scale in the result are the values
    they store.

    Args:
        checkpoint: The checkpoint, open.
        quantization_config: What `quantization_config_beside` found.
        assume_scaled: Whether scales that nothing explains are multipliers.

    Raises:
        TensorMismatchError: `orphan-scales`, `missing-scale`, `missing-weight`,
            `two-scales` or `mixed-layouts`.
        DtypeError: `quantization-format`, `legacy-e5m2`, `scaled-dtype`, `fp8-dtype`
            or `scale-dtype`.
        ShapeError: `scale-shape`.
        ValueRangeError: `bad-scale`.
        CheckpointError: `quantization-entry`, `quantization-version`, `config-json` or
            `unread-quantization`.
        InputError: The file changed or cannot be read.
    """
    survey = survey_of(checkpoint.tensors)
    header = METADATA_KEY in checkpoint.metadata
    check_mixture(checkpoint, survey, header=header)
    declared = _declared(
        checkpoint, survey, quantization_config, assume_scaled=assume_scaled
    )
    orphans = _orphans(checkpoint, survey, declared.claims)
    claims = (*declared.claims, *orphans)
    check_tensors(checkpoint, claims)
    check_unread(checkpoint, survey, claims)
    if not assume_scaled:
        check_explained(checkpoint, survey, claims, orphans)
    bound = bind(checkpoint, claims, assume_scaled=assume_scaled)
    name = declared.name or _unexplained_name(survey, orphans)
    return Layout(
        name=name,
        title=_TITLES[name],
        scales=MappingProxyType(dict(bound.scales)),
        stored_as=MappingProxyType(dict(bound.stored_as)),
        auxiliary=_auxiliary(survey, claims),
        metadata_keys=frozenset({METADATA_KEY} if header else ()),
        warnings=(
            *declared.warnings,
            *_assumed(orphans),
            *(scaled_notes(checkpoint, survey, claims, bound) if claims else ()),
        ),
    )


def _declared(
    checkpoint: Checkpoint,
    survey: Survey,
    config: Mapping[str, object] | None,
    *,
    assume_scaled: bool,
) -> _Declared:
    """Return what the first of the three explanations that is there says."""
    entries = read_entries(checkpoint, survey)
    if entries.claims:
        formats = set(entries.formats.values())
        name = "rowwise" if ROWWISE in formats else "comfy-scaled"
        if BLOCKWISE in formats:
            name = "blockwise"
        return _Declared(name, entries.claims, entries.warnings)
    marked = read_markers(checkpoint, survey, assume_scaled=assume_scaled)
    if marked.claims:
        return _Declared("comfy-scaled-legacy", marked.claims, marked.warnings)
    configured = read_configured(checkpoint, survey, config)
    return _Declared(configured.name, configured.claims)


def _orphans(
    checkpoint: Checkpoint, survey: Survey, claims: tuple[Claim, ...]
) -> tuple[Claim, ...]:
    """Return a claim for every scale that nothing explains.

    Where no tensor is fp8, a name without its weight is a model's own parameter.
    """
    explained = {claim.scale for claim in claims}
    return tuple(
        Claim(module, scale, ANY)
        for module, scale in survey.scales()
        if scale not in explained
        and (survey.fp8 or member(module, WEIGHT) in checkpoint.tensors)
    )


def _unexplained_name(survey: Survey, orphans: tuple[Claim, ...]) -> str:
    if orphans:
        return _ORPHANS[orphans[0].scale.rpartition(".")[2]]
    return PLAIN_FP8 if survey.fp8 else PLAIN


def _auxiliary(survey: Survey, claims: tuple[Claim, ...]) -> frozenset[str]:
    """Return all scales and markers; input scales only of scaled weights."""
    scaled = {claim.module for claim in claims}
    return frozenset(
        {claim.scale for claim in claims}
        | {member(module, COMFY_QUANT) for module in survey.having(COMFY_QUANT)}
        | {member(module, MARKER) for module in survey.having(MARKER)}
        | {
            member(module, part)
            for part in INPUT_SCALES
            for module in survey.having(part)
            if module in scaled
        }
    )


def _assumed(orphans: tuple[Claim, ...]) -> tuple[str, ...]:
    if not orphans:
        return ()
    scales = first_names(claim.scale for claim in orphans)
    text = f"{len(orphans):,} scales that nothing explains are read as multipliers"
    return (f"assumed-scales: {text}: {scales}",)
