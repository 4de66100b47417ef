"""The plan of a conversion: which tensor gets which dtype, in which file, and why."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from release.architecture.sdxl import component_of, is_copied
from release.carried import Carried, carry
from release.convert.files import VariantFiles, folder, one_file, shards
from release.convert.options import ConvertOptions
from release.convert.source import Source
from release.engine.plan import (
    Ingredient,
    OutputRequest,
    Plan,
    TensorSource,
    plan_pass,
)
from release.errors import UsageError
from release.formats.layouts.comfy import comfy_quant_bytes
from release.formats.limits import SHARDS_MAX
from release.formats.tensor import TensorEntry
from release.metadata import VARIANT_KEY
from release.numeric.dtype import Dtype
from release.variants.assign import Assignment, assign, risks
from release.variants.outcome import Majority, majority
from release.variants.preset import Preset

_SCALE_NBYTES: Final = 4
_OLD_SUFFIX: Final = re.compile(
    r"[-_.](fp32|fp16|bf16|fp8([-_](e4m3fn|e5m2|scaled))?)$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class VariantPlan:
    """One variant: what its tensors become, and its files.

    Attributes:
        preset: The policy.
        assignments: Tensor name -> dtype and the reason for it.
        cast: Tensors whose values are stored otherwise than in the source.
        kept: Tensors that stay F16 because they would lose too much, sorted.
        nbytes: Tensor name -> bytes, those of its scale and marker included.
        files: Where everything goes.
        notes: One line each.
        warnings: One line each.
    """

    preset: Preset
    assignments: Mapping[str, Assignment]
    cast: frozenset[str]
    kept: tuple[str, ...]
    nbytes: Mapping[str, int]
    files: VariantFiles
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ConvertPlan:
    """What a conversion will do.

    Attributes:
        source: The checkpoint, open.
        options: What was asked for.
        carried: What becomes of the metadata.
        variants: One for each preset.
        passes: The engine's plan; its outputs are the parts of all variants, in order.
    """

    source: Source
    options: ConvertOptions
    carried: Carried
    variants: tuple[VariantPlan, ...]
    passes: Plan


def plan_convert(
    source: Source,
    options: ConvertOptions,
    *,
    kept: Mapping[str, frozenset[str]] | None = None,
) -> ConvertPlan:
    """Plan the conversion of `source` to every preset, in one reading.

    Args:
        source: The checkpoint, open.
        options: What is wanted.
        kept: Preset name -> tensors that were found to lose too much and stay F16.

    Raises:
        RecipeError: A rule of the user's fits no tensor, or none that may be cast.
        UsageError: Scales in a folder whose layout is kept, or too many files.
    """
    weights = _weights(source)
    carried = carry(
        source.checkpoint.metadata,
        architecture=source.architecture,
        title=bare_stem(source.stem),
        has_v_pred="v_pred" in source.checkpoint.tensors,
        keep_private=options.keeps_private,
        outdated=source.layout.metadata_keys,
    )
    variants = tuple(
        _variant(source, options, weights, preset, (kept or {}).get(preset.name))
        for preset in options.presets
    )
    _check_count(variants)
    requests = [
        request
        for variant in variants
        for request in _requests(variant, carried, clamps=options.clamps)
    ]
    ingredient = Ingredient("source", source.checkpoint, source.layout)
    passes = plan_pass([ingredient], _sources(source, weights), requests)
    return ConvertPlan(source, options, carried, variants, passes)


def _weights(source: Source) -> dict[str, TensorEntry]:
    """Return the tensors that are converted, with the dtypes of their values."""
    return {
        name: replace(entry, dtype=source.layout.stored_as.get(name, entry.dtype))
        for name, entry in source.checkpoint.tensors.items()
        if name not in source.layout.auxiliary
    }


def _sources(
    source: Source, weights: Mapping[str, TensorEntry]
) -> dict[str, TensorSource]:
    """Say where every tensor comes from; scales are read for their digests, too."""
    found = {}
    for name, entry in source.checkpoint.tensors.items():
        known = source.single_file_name(name)
        found[name] = TensorSource(
            shape=entry.shape,
            component=component_of(known).value,
            copied=name not in weights or is_copied(known, weights[name].dtype),
            operands=((0, 1.0),),
        )
    return found


def _variant(
    source: Source,
    options: ConvertOptions,
    weights: Mapping[str, TensorEntry],
    preset: Preset,
    kept: frozenset[str] | None,
) -> VariantPlan:
    assignments = _assignments(source, options, weights, preset)
    if kept:
        assignments |= {
            name: Assignment(Dtype.F16, False, _kept_reason(options, assignments[name]))
            for name in kept
        }
    if source.folder is not None:
        _check_unscaled(preset, assignments)
    nbytes = {
        name: _stored_nbytes(entry, assignments[name])
        for name, entry in weights.items()
    }
    base = _base(source, options, preset)
    cast = frozenset(
        name
        for name, entry in weights.items()
        if assignments[name].dtype is not entry.dtype
        or assignments[name].scaled
        or name in source.layout.scales
    )
    return VariantPlan(
        preset=preset,
        assignments=assignments,
        cast=cast,
        kept=tuple(sorted(kept or ())),
        nbytes=nbytes,
        files=_files(source, options, base, nbytes),
        notes=()
        if cast
        else (f"already {preset.name}: every tensor is copied as it is",),
        warnings=_warnings(source, weights, preset, assignments),
    )


def _check_count(variants: tuple[VariantPlan, ...]) -> None:
    """Refuse more files than are open at once on any system, and than are read back."""
    n_files = sum(len(variant.files.parts) for variant in variants)
    if n_files > SHARDS_MAX:
        raise UsageError(
            f"{n_files:,} files of weights; expected at most {SHARDS_MAX} at once",
            code="too-many-files",
            hint="pass a larger size to --shard, or fewer variants",
        )


def _check_unscaled(preset: Preset, assignments: Mapping[str, Assignment]) -> None:
    """Refuse scales in a folder: diffusers would leave them out without an error."""
    scaled = [name for name, each in assignments.items() if each.scaled]
    if scaled:
        raise UsageError(
            f"{preset.name} with --keep-layout: {len(scaled):,} weights would be "
            "scaled; expected weights without scales in a diffusers folder",
            code="folder-scales",
            hint="diffusers does not read scales: choose --to fp8, or leave "
            "--keep-layout out",
        )


def _kept_reason(options: ConvertOptions, before: Assignment) -> str:
    return f"below {options.min_snr:g} dB in {before.dtype.code}"


def _assignments(
    source: Source,
    options: ConvertOptions,
    weights: Mapping[str, TensorEntry],
    preset: Preset,
) -> dict[str, Assignment]:
    known = {source.single_file_name(name): entry for name, entry in weights.items()}
    found = assign(preset, known, architecture=source.architecture, rules=options.rules)
    return {name: found[source.single_file_name(name)] for name in weights}


def _stored_nbytes(entry: TensorEntry, assignment: Assignment) -> int:
    nbytes = entry.n_elements * assignment.dtype.bits // 8
    if assignment.scaled:
        nbytes += _SCALE_NBYTES + len(comfy_quant_bytes(assignment.dtype))
    return nbytes


def _files(
    source: Source, options: ConvertOptions, base: str, nbytes: Mapping[str, int]
) -> VariantFiles:
    if source.folder is not None:
        return folder(base, source.folder)
    if options.shard_nbytes is not None:
        return shards(base, nbytes, options.shard_nbytes)
    return one_file(base, nbytes)


def _requests(
    variant: VariantPlan, carried: Carried, *, clamps: bool
) -> list[OutputRequest]:
    requests = []
    for part in variant.files.parts:
        assigned = {
            name: variant.assignments[name]
            for name in part.tensors
            if name in variant.assignments
        }
        scaled = frozenset(name for name, each in assigned.items() if each.scaled)
        requests.append(
            OutputRequest(
                variant=variant.preset.name,
                name=part.name,
                dtypes={name: each.dtype for name, each in assigned.items()},
                metadata={
                    **carried.kept,
                    VARIANT_KEY: variant.preset.name,
                },
                scaled=scaled,
                clamps=clamps,
                prefix=part.prefix,
            )
        )
    return requests


def _warnings(
    source: Source,
    weights: Mapping[str, TensorEntry],
    preset: Preset,
    assignments: Mapping[str, Assignment],
) -> tuple[str, ...]:
    by_known = {
        source.single_file_name(name): each for name, each in assignments.items()
    }
    found = [f"{preset.name}: {line}" for line in risks(by_known)]
    known = {source.single_file_name(name): entry for name, entry in weights.items()}
    found += _recognition(preset, majority(by_known, known))
    kept = [
        name for name, each in weights.items() if assignments[name].dtype is each.dtype
    ]
    if source.architecture == "unknown" and preset.is_reduced and kept:
        found.append(
            f"unknown architecture: {preset.name} casts only weights that are "
            f"surely of Linear and Conv modules, and keeps {len(kept):,} of "
            f"{len(weights):,} tensors as they are"
        )
    return tuple(found)


def _recognition(preset: Preset, found: Majority) -> list[str]:
    """Name the programs that will not load a variant as the fp8 that it is."""
    if not found.n_fp8_tensors or any(rule.scaled for rule in preset.rules.known):
        return []
    programs = {"Forge": found.forge, "ComfyUI": found.comfyui}
    missed = [name for name, recognises in programs.items() if not recognises]
    if not missed:
        return []
    share = f"{found.n_fp8_tensors:,} of {found.n_tensors:,} tensors of the U-Net are"
    return [f"{preset.name}: {' and '.join(missed)} will not load it as fp8: {share}"]


def _base(source: Source, options: ConvertOptions, preset: Preset) -> str:
    own = options.rules.suffix if options.rules else ""
    return "-".join(
        part for part in (bare_stem(source.stem), preset.suffix, own) if part
    )


def bare_stem(stem: str) -> str:
    """Return a stem without the suffix that says which variant the source was."""
    return _OLD_SUFFIX.sub("", stem) or stem
