"""Variants: which tensor is published in which dtype, as tables of rules.

A preset is an ordered list of rules; the first rule that fits a tensor gives its dtype.
Tensors that must be copied (integers, markers, schedule buffers) never reach a rule.

Source:
    The fp8 preset is the plain layout that AUTOMATIC1111 (PR #14031), Forge and ComfyUI
    all read as fp8: Forge counts tensors (weights and biases together are 69.5 % of
    SDXL's U-Net), ComfyUI counts elements.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from release.architecture.sdxl import Component, component_of, is_copied
from release.errors import UsageError, visible
from release.numeric.dtype import Dtype


class Kind(Enum):
    """What a tensor is within its module, told from names and ranks."""

    MATRIX = "weight of a Linear or Conv module"
    MATRIX_BIAS = "bias of a Linear or Conv module"
    OTHER = "norm, embedding or raw parameter"


class TensorLike(Protocol):
    """What the rules look at."""

    @property
    def dtype(self) -> Dtype:
        """Dtype in the source."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Dimensions in the source."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of a preset. None as `dtype` keeps the source's."""

    dtype: Dtype | None
    reason: str
    components: frozenset[Component] = frozenset(Component)
    kinds: frozenset[Kind] = frozenset(Kind)


@dataclass(frozen=True, slots=True)
class Preset:
    """A named dtype policy.

    `rules` are for SDXL and the older all-in-one layouts, whose parts are known;
    `generic_rules` for other architectures, where only what is surely a weight matrix
    is cast to fp8.
    """

    name: str
    summary: str
    rules: tuple[Rule, ...]
    generic_rules: tuple[Rule, ...]
    reduced: bool
    """Whether precision below 16 bits is used anywhere."""


def _uniform(name: str, dtype: Dtype, summary: str) -> Preset:
    rules = (Rule(dtype, "every float tensor"),)
    return Preset(name, summary, rules, rules, reduced=False)


_MATRICES: Final = frozenset({Kind.MATRIX, Kind.MATRIX_BIAS})

PRESETS: Final[dict[str, Preset]] = {
    preset.name: preset
    for preset in (
        _uniform("fp32", Dtype.F32, "float32 everywhere; for training and merging"),
        _uniform("fp16", Dtype.F16, "float16 everywhere; what most programs expect"),
        _uniform("bf16", Dtype.BF16, "bfloat16 everywhere; float32's range"),
        Preset(
            "fp8",
            "U-Net Linear and Conv2d in fp8 e4m3fn, the rest float16; least memory",
            rules=(
                Rule(
                    Dtype.F8_E4M3,
                    "U-Net Linear and Conv2d, weight and bias: what consumers look at",
                    components=frozenset({Component.UNET}),
                    kinds=_MATRICES,
                ),
                Rule(Dtype.F16, "norms, text encoders and VAE are damaged by 8 bits"),
            ),
            generic_rules=(
                Rule(
                    Dtype.F8_E4M3,
                    "weights of Linear and Conv modules",
                    components=frozenset(Component) - {Component.VAE},
                    kinds=frozenset({Kind.MATRIX}),
                ),
                Rule(None, "unknown architecture: the rest is kept as it is"),
            ),
            reduced=True,
        ),
    )
}
"""Every preset, by name, in the order they are offered."""


def find_preset(name: str) -> Preset:
    """Return the preset called `name`.

    Raises:
        UsageError: There is none; the message lists them, the hint the nearest.
    """
    if name in PRESETS:
        return PRESETS[name]
    near = difflib.get_close_matches(name.lower(), PRESETS, n=1, cutoff=0.4)
    raise UsageError(
        f"unknown variant '{visible(name)}': expected one of {', '.join(PRESETS)}",
        code="unknown-variant",
        hint=f"did you mean {near[0]}?" if near else "",
    )


def assign_dtypes(
    preset: Preset, tensors: Mapping[str, TensorLike], *, architecture: str
) -> dict[str, Dtype]:
    """Return the dtype that each tensor gets under `preset`.

    Args:
        preset: The policy.
        tensors: Tensor name -> dtype and shape, a whole checkpoint.
        architecture: As `release.architecture.sdxl.detect` names it.
    """
    is_known = architecture != "unknown"
    rules = preset.rules if is_known else preset.generic_rules
    return {
        name: _dtype_of(rules, name, tensor, kind_of(name, tensors))
        for name, tensor in tensors.items()
    }


def _dtype_of(
    rules: tuple[Rule, ...], name: str, tensor: TensorLike, kind: Kind
) -> Dtype:
    if is_copied(name, tensor.dtype) or not tensor.dtype.is_arithmetic:
        return tensor.dtype
    component = component_of(name)
    for rule in rules:
        if component in rule.components and kind in rule.kinds:
            return rule.dtype or tensor.dtype
    return tensor.dtype


def kind_of(name: str, tensors: Mapping[str, TensorLike]) -> Kind:
    """Tell weight matrices and their biases from everything else.

    A matrix is a `.weight` of rank 2 (Linear) or 4 (Conv2d) that is not an embedding.
    """
    module, _, parameter = name.rpartition(".")
    if "embed" in module.rpartition(".")[2] and "time_embed" not in module:
        return Kind.OTHER
    weight = tensors.get(f"{module}.weight")
    if weight is None or len(weight.shape) not in {2, 4}:
        return Kind.OTHER
    if parameter == "weight":
        return Kind.MATRIX
    return Kind.MATRIX_BIAS if parameter == "bias" else Kind.OTHER
