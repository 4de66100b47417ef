"""The plan of a conversion: which tensor gets which dtype, in which file, and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from release.convert.files import VariantFiles, folder, one_file, shards
from release.convert.material import Material, of_source
from release.convert.names import bare_stem
from release.convert.options import ConvertOptions
from release.convert.source import Source
from release.engine.plan import OutputRequest, Plan, plan_pass
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
    """What will be done.

    Attributes:
        material: What the outputs are made of, open.
        options: What was asked for.
        variants: One for each preset.
        passes: The engine's plan; its outputs are the parts of all variants, in order.
    """

    material: Material
    options: ConvertOptions
    variants: tuple[VariantPlan, ...]
    passes: Plan

    @property
    def source(self) -> Source:
        """The checkpoint that names, shapes and sizes before are those of."""
        return self.material.source


def plan_convert(source: Source, options: ConvertOptions) -> ConvertPlan:
    """Plan the conversion of `source` to every preset, in one reading.

    Raises:
        RecipeError: A rule of the user's fits no tensor, or none that may be cast.
        UsageError: Scales in a folder whose layout is kept, or too many files.
    """
    return plan_outputs(of_source(source, options), options)


def plan_outputs(
    material: Material,
    options: ConvertOptions,
    *,
    kept: Mapping[str, frozenset[str]] | None = None,
) -> ConvertPlan:
    """Plan every preset of some material, in one reading.

    Args:
        material: What the outputs are made of, open.
        options: What is wanted.
        kept: Preset name -> tensors that were found to lose too much and stay F16.

    Raises:
        RecipeError: As for `plan_convert`.
        UsageError: As for `plan_convert`.
    """
    variants = tuple(
        _variant(material, options, preset, (kept or {}).get(preset.name))
        for preset in options.presets
    )
    _check_count(variants)
    requests = [
        request
        for variant in variants
        for request in _requests(variant, material, clamps=options.clamps)
    ]
    passes = plan_pass(material.ingredients, material.sources, requests)
    return ConvertPlan(material, options, variants, passes)


def _variant(
    material: Material,
    options: ConvertOptions,
    preset: Preset,
    kept: frozenset[str] | None,
) -> VariantPlan:
    source, weights = material.source, material.weights
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
    cast = material.mixed | {
        name
        for name, entry in weights.items()
        if assignments[name].dtype is not entry.dtype
        or assignments[name].scaled
        or name in source.layout.scales
    }
    return VariantPlan(
        preset=preset,
        assignments=assignments,
        cast=frozenset(cast),
        kept=tuple(sorted(kept or ())),
        nbytes=nbytes,
        files=_files(source, options, _base(material, options, preset), nbytes),
        notes=_notes(preset, assignments, has_cast=bool(cast)),
        warnings=_warnings(source, weights, preset, assignments),
    )


def _notes(
    preset: Preset, assignments: Mapping[str, Assignment], *, has_cast: bool
) -> tuple[str, ...]:
    if has_cast or not _is_reached(preset, assignments):
        return ()
    return (f"already {preset.name}: every tensor is copied as it is",)


def _is_reached(preset: Preset, assignments: Mapping[str, Assignment]) -> bool:
    """Whether a preset that promises fp8 gives any."""
    has_fp8 = any(each.dtype.is_fp8 for each in assignments.values())
    return has_fp8 or not preset.is_reduced


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
    variant: VariantPlan, material: Material, *, clamps: bool
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
                    **material.metadata,
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
    if not _is_reached(preset, assignments):
        found.append(f"{preset.name}: no tensor of this file becomes fp8")
    elif source.architecture == "unknown" and preset.is_reduced and kept:
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


def _base(material: Material, options: ConvertOptions, preset: Preset) -> str:
    """Return what the names of a variant's files begin with."""
    if options.file_stem:
        return options.file_stem
    parts = [bare_stem(material.stem), preset.suffix]
    if options.rules and options.rules.suffix not in {"", preset.suffix}:
        parts.append(options.rules.suffix)
    return "-".join(parts)
