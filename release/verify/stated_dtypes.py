"""Dtypes that a file's name and its metadata promise, against what it holds.

`modelspec.unet_dtype` and `modelspec.vae_dtype` are no such promise: they list dtypes
in which the networks are known to compute well.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Final

from release.architecture.contents import Part, part_of
from release.errors import visible
from release.formats.layouts.kinds import Layout
from release.formats.tensor import TensorEntry
from release.inspection.facts import main_dtype
from release.metadata import VARIANT_KEY
from release.numeric.dtype import Dtype
from release.variants.assign import assign
from release.variants.preset import PRESET_NAMES, find_preset
from release.verify.finding import Finding

_FP8: Final = frozenset({Dtype.F8_E4M3, Dtype.F8_E5M2})
_WORDS: Final = {
    "fp32": frozenset({Dtype.F32}),
    "f32": frozenset({Dtype.F32}),
    "float32": frozenset({Dtype.F32}),
    "fp16": frozenset({Dtype.F16}),
    "f16": frozenset({Dtype.F16}),
    "float16": frozenset({Dtype.F16}),
    "bf16": frozenset({Dtype.BF16}),
    "bfloat16": frozenset({Dtype.BF16}),
    "e4m3": frozenset({Dtype.F8_E4M3}),
    "e4m3fn": frozenset({Dtype.F8_E4M3}),
    "e5m2": frozenset({Dtype.F8_E5M2}),
    "fp8": _FP8,
    "f8": _FP8,
    "float8": _FP8,
}
_WORD: Final = re.compile(r"[a-z0-9]+")
_PARTS: Final[Mapping[str, Part | None]] = {
    "dtype": None,
    "precision": None,
    "unet_dtype": Part.UNET,
    "vae_dtype": Part.VAE,
}
"""Metadata that states how a file, or one part of it, is stored."""
_TEXT_MAX: Final = 1024


def dtype_findings(
    name: str,
    metadata: Mapping[str, str],
    tensors: Mapping[str, TensorEntry],
    *,
    architecture: str,
    layout: Layout | None,
) -> tuple[Finding, ...]:
    """Return where a name or metadata promises another dtype than most values have.

    Args:
        name: Of the file, without its folder.
        metadata: Of its header.
        tensors: All of a whole checkpoint.
        architecture: As `release.architecture.sdxl.detect` names it.
        layout: How fp8 weights are stored; None where that cannot be told.
    """
    weights = _weights(tensors, layout)
    return (
        *(_of_name(name, weights) or _of_scales(name, layout)),
        *_of_metadata(metadata, weights),
        *_of_variant(metadata, weights, architecture),
    )


def _weights(
    tensors: Mapping[str, TensorEntry], layout: Layout | None
) -> dict[str, TensorEntry]:
    """Return all tensors, fp8 in the guise of U8 as what it is."""
    if layout is None or not layout.stored_as:
        return dict(tensors)
    return {
        name: replace(entry, dtype=layout.stored_as.get(name, entry.dtype))
        for name, entry in tensors.items()
    }


def _of_name(name: str, weights: Mapping[str, TensorEntry]) -> tuple[Finding, ...]:
    named, main = _named_dtypes(name), main_dtype(weights.values())
    if main is None or not named or main in named:
        return ()
    return (
        Finding(
            "dtype-name",
            "warning",
            f"the name {visible(name)} says {_codes(named)}, {_share(main, weights)}",
        ),
    )


def _of_scales(name: str, layout: Layout | None) -> tuple[Finding, ...]:
    """Judge "scaled" beside an fp8 dtype: of other words it says nothing."""
    if layout is None or layout.scales or not _named_dtypes(name) & _FP8:
        return ()
    if "scaled" not in _WORD.findall(name.lower()):
        return ()
    return (
        Finding(
            "scaled-name",
            "warning",
            f"the name {visible(name)} says scaled fp8, no weight has a scale",
        ),
    )


def _of_metadata(
    metadata: Mapping[str, str], weights: Mapping[str, TensorEntry]
) -> tuple[Finding, ...]:
    findings = []
    for key, part in _PARTS.items():
        value = metadata.get(key, "")
        stated = _named_dtypes(value)
        if not stated:
            continue
        mine = {
            name: entry
            for name, entry in weights.items()
            if part is None or part_of(name) is part
        }
        main = main_dtype(mine.values())
        if main is not None and main not in stated:
            findings.append(
                Finding(
                    "dtype-metadata",
                    "warning",
                    f"metadata {key} says {visible(value, 80)}, {_share(main, mine)}",
                )
            )
    return tuple(findings)


def _of_variant(
    metadata: Mapping[str, str], weights: Mapping[str, TensorEntry], architecture: str
) -> tuple[Finding, ...]:
    """Compare with what the preset makes of these tensors: it changes none of its own.

    A warning only, since options of a conversion may keep tensors as they were.
    """
    variant = metadata.get(VARIANT_KEY, "")
    main = main_dtype(weights.values())
    if main is None or variant not in PRESET_NAMES or architecture == "unknown":
        return ()
    assigned = assign(find_preset(variant), weights, architecture=architecture)
    meant = main_dtype(
        entry
        if assigned[name].dtype is entry.dtype
        else replace(entry, dtype=assigned[name].dtype)
        for name, entry in weights.items()
    )
    if meant is None or meant is main:
        return ()
    return (
        Finding(
            "dtype-variant",
            "warning",
            f"metadata {VARIANT_KEY} says {variant}, which is mostly {meant.code}, "
            f"{_share(main, weights)}",
        ),
    )


def _named_dtypes(text: str) -> frozenset[Dtype]:
    """Return the dtypes that words of `text` stand for; of fp8, the more exact ones.

    The VAE known as "fp16-fix" is made to compute in float16, however it is stored.
    """
    words = _WORD.findall(text[:_TEXT_MAX].lower())
    pairs = pairwise([*words, ""])
    found = [_WORDS[word] for word, after in pairs if word in _WORDS and after != "fix"]
    exact = [dtypes for dtypes in found if dtypes < _FP8]
    if exact:
        found = [dtypes for dtypes in found if dtypes != _FP8]
    return frozenset().union(*found)


def _share(main: Dtype, weights: Mapping[str, TensorEntry]) -> str:
    sizes: Counter[Dtype] = Counter()
    for entry in weights.values():
        if entry.dtype.is_arithmetic:
            sizes[entry.dtype] += entry.n_elements
    # Cut, not rounded: 100 % is said only of all.
    share = int(1000 * sizes[main] / sizes.total()) / 10
    return f"{share:g} % of the values are {main.code}"


def _codes(dtypes: Collection[Dtype]) -> str:
    return " or ".join(sorted(dtype.code for dtype in dtypes))
