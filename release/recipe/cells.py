"""Cells: the smallest groups of tensors that a recipe can treat differently.

A block of a convention may hold tensors of several parts of the model: SuperMerger's
BASE has both text encoders and the VAE, its IN00 the time embedding. Recipes may speak
of blocks and of parts, so coefficients are kept for each pair of both.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from release.architecture.sdxl import Component, component_of


class Part(Enum):
    """A part of a model that a recipe can name; U-Net embeddings stand apart."""

    CLIP_L = "clip_l"
    CLIP_G = "clip_g"
    VAE = "vae"
    TIME_EMBED = "time_embed"
    LABEL_EMB = "label_emb"
    UNET = "unet"
    OUT = "out"
    OTHER = "other"


_UNET: Final = "model.diffusion_model."
_UNET_PARTS: Final = (
    (f"{_UNET}time_embed.", Part.TIME_EMBED),
    (f"{_UNET}label_emb.", Part.LABEL_EMB),
    (f"{_UNET}out.", Part.OUT),
)
_COMPONENT_PARTS: Final = {
    Component.UNET: Part.UNET,
    Component.CLIP_L: Part.CLIP_L,
    Component.CLIP_G: Part.CLIP_G,
    Component.VAE: Part.VAE,
    Component.OTHER: Part.OTHER,
}

PART_PREFIXES: Final = (
    *(prefix for prefix, _ in _UNET_PARTS),
    _UNET,
    "conditioner.embedders.0.",
    "conditioner.embedders.1.",
    "first_stage_model.",
    "cond_stage_model.",
)
"""Beginnings of tensor names that lead to another part than `OTHER`."""

WHOLE_UNET: Final = frozenset({Part.UNET, Part.TIME_EMBED, Part.LABEL_EMB, Part.OUT})

TARGET_PARTS: Final = {
    **{part.value: frozenset({part}) for part in Part},
    Part.UNET.value: WHOLE_UNET,
}
"""What the name of a part covers in an expression: "unet" is the whole U-Net."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A block of a convention, and a part of the model in it."""

    block: str
    part: Part

    @property
    def label(self) -> str:
        """Block and part, as recipes in canonical form and reports name the cell."""
        return f"{self.block}/{self.part.value}"


def part_of(tensor_name: str) -> Part:
    """Return the part of a tensor in the all-in-one SDXL layout, by its prefix."""
    for prefix, part in _UNET_PARTS:
        if tensor_name.startswith(prefix):
            return part
    return _COMPONENT_PARTS[component_of(tensor_name)]
