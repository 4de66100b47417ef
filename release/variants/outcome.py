"""How programs that choose one dtype for a U-Net will take what is assigned."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from release.architecture.sdxl import Component, component_of
from release.numeric.dtype import Dtype
from release.variants.assign import Assignment
from release.variants.kind import TensorLike


@dataclass(frozen=True, slots=True)
class Majority:
    """How much of a U-Net is fp8, as programs count to choose its dtype.

    `forge` and `comfyui` tell whether each would take the U-Net as fp8: whether the
    dtype with the most tensors, or with the most elements, is one of the two.
    """

    n_fp8_tensors: int
    n_tensors: int
    n_fp8_elements: int
    n_elements: int
    forge: bool
    comfyui: bool


def majority(
    assignments: Mapping[str, Assignment], tensors: Mapping[str, TensorLike]
) -> Majority:
    """Return whether programs would recognise plain fp8 in what is assigned.

    Says nothing of scaled weights: ComfyUI finds those by their markers, Forge does not
    read them.

    Args:
        assignments: From `release.variants.assign.assign`.
        tensors: What was assigned to.

    Source:
        Forge, `state_dict_dtype` in backend/memory_management.py; ComfyUI,
        `weight_dtype` in comfy/utils.py.
    """
    n_tensors: Counter[Dtype] = Counter()
    n_elements: Counter[Dtype] = Counter()
    for name, assignment in assignments.items():
        if component_of(name) is Component.UNET:
            n_tensors[assignment.dtype] += 1
            n_elements[assignment.dtype] += math.prod(tensors[name].shape)
    return Majority(
        n_fp8_tensors=_fp8(n_tensors),
        n_tensors=n_tensors.total(),
        n_fp8_elements=_fp8(n_elements),
        n_elements=n_elements.total(),
        forge=_leads(n_tensors),
        comfyui=_leads(n_elements),
    )


def _fp8(counts: Mapping[Dtype, int]) -> int:
    return sum(count for dtype, count in counts.items() if dtype.is_fp8)


def _leads(counts: Counter[Dtype]) -> bool:
    """Whether one fp8 dtype has more than every other dtype."""
    ranked = counts.most_common(2)
    if not ranked or not ranked[0][0].is_fp8:
        return False
    return len(ranked) == 1 or ranked[0][1] > ranked[1][1]
