"""What a file holds, told from its tensor names: a whole model, a part, an adapter.

`release.architecture.sdxl.component_of` knows the all-in-one names, by which models are
merged and cast. Here are the other names, under which parts go around alone; they only
ever describe.
"""

from collections.abc import Iterable
from enum import Enum
from typing import Final

from release.architecture.ema import is_ema
from release.architecture.sdxl import Component, component_of


class Part(Enum):
    """The part of a model that a tensor belongs to, whatever its name's layout."""

    UNET = "unet"
    CLIP_L = "clip_l"
    CLIP_G = "clip_g"
    TEXT_ENCODER = "text_encoder"
    VAE = "vae"
    LORA = "lora"
    EMA = "ema"
    OTHER = "other"


class Contents(Enum):
    """What a file as a whole is."""

    ALL_IN_ONE = "all-in-one"
    UNET = "unet"
    TEXT_ENCODER = "text-encoder"
    VAE = "vae"
    LORA = "lora"
    SOME_PARTS = "some-parts"
    UNKNOWN = "unknown"


_BY_COMPONENT: Final = {
    Component.UNET: Part.UNET,
    Component.CLIP_L: Part.CLIP_L,
    Component.CLIP_G: Part.CLIP_G,
    Component.VAE: Part.VAE,
}
_LORA_MARKS: Final = (
    ".lora_up.",
    ".lora_down.",
    ".lora_A.",
    ".lora_B.",
    ".hada_w",
    ".lokr_w",
)
_LORA_PREFIX: Final = "lora_"
_BARE_PREFIXES: Final = (
    (
        Part.VAE,
        (
            "vae/",
            "encoder.conv_",
            "encoder.down",
            "encoder.mid",
            "encoder.norm_out.",
            "decoder.conv_",
            "decoder.up",
            "decoder.mid",
            "decoder.norm_out.",
            "quant_conv.",
            "post_quant_conv.",
        ),
    ),
    (
        Part.UNET,
        (
            "unet/",
            "input_blocks.",
            "middle_block.",
            "output_blocks.",
            "time_embed.",
            "label_emb.",
            "out.",
            "down_blocks.",
            "mid_block.",
            "up_blocks.",
            "time_embedding.",
            "add_embedding.",
            "conv_in.",
            "conv_out.",
            "conv_norm_out.",
        ),
    ),
    (
        Part.TEXT_ENCODER,
        (
            "text_encoder/",
            "text_encoder_2/",
            "text_model.",
            "transformer.resblocks.",
            "clip_l.",
            "clip_g.",
        ),
    ),
)
"""Names of parts that go alone, in the ldm and diffusers layouts, and of the parts of a
diffusers folder.
"""

_TEXT_PARTS: Final = frozenset({Part.CLIP_L, Part.CLIP_G, Part.TEXT_ENCODER})
_MODEL_PARTS: Final = _TEXT_PARTS | {Part.UNET, Part.VAE}


def part_of(tensor_name: str) -> Part:
    """Return the part that `tensor_name` belongs to."""
    if is_ema(tensor_name):
        return Part.EMA
    if tensor_name.startswith(_LORA_PREFIX) or any(
        mark in tensor_name for mark in _LORA_MARKS
    ):
        return Part.LORA
    component = component_of(tensor_name)
    if component in _BY_COMPONENT:
        return _BY_COMPONENT[component]
    for part, prefixes in _BARE_PREFIXES:
        if tensor_name.startswith(prefixes):
            return part
    return Part.OTHER


def contents_of(parts: Iterable[Part]) -> Contents:
    """Return what a file is that holds tensors of `parts`."""
    present = set(parts)
    if Part.LORA in present:
        return Contents.LORA
    found = present & _MODEL_PARTS
    if found <= _TEXT_PARTS:
        return Contents.TEXT_ENCODER if found else Contents.UNKNOWN
    if len(found) == 1:
        return Contents.UNET if Part.UNET in found else Contents.VAE
    is_whole = {Part.UNET, Part.VAE} <= found and found & _TEXT_PARTS
    return Contents.ALL_IN_ONE if is_whole else Contents.SOME_PARTS
