"""Where in its model a tensor is: the part, and the block or layer in it.

For reports and pictures only. SDXL's U-Net has the block names of merge recipes; all
else is named by the beginning of its tensor names, up to the first number.
"""

import re
from typing import Final

from release.architecture.contents import Part
from release.recipe.cells import Part as RecipePart
from release.recipe.cells import part_of as recipe_part_of
from release.recipe.conventions import SD_MECHA
from release.recipe.weights import WEIGHT_BLOCKS

_UNET_ENDS: Final = {
    RecipePart.TIME_EMBED: "time_embed",
    RecipePart.LABEL_EMB: "label_emb",
    RecipePart.OUT: "out",
}
_UNET_ORDER: Final = (
    "time_embed",
    "label_emb",
    *WEIGHT_BLOCKS[1:],
    "out",
)
_PREFIXES: Final = (
    "model.diffusion_model.",
    "conditioner.embedders.0.transformer.text_model.",
    "conditioner.embedders.1.model.",
    "cond_stage_model.transformer.text_model.",
    "cond_stage_model.model.",
    "first_stage_model.",
    "text_model.",
)
_LAYERS: Final = ("encoder.layers.", "transformer.resblocks.")
_PARAMETERS: Final = frozenset({"weight", "bias"})
_NAMED_PARTS: Final = 2
"""Parts of a name that say where a tensor is, if no number does."""
_NUMBERS: Final = re.compile(r"([0-9]{1,18})")


def block_of(name: str, part: Part, architecture: str) -> str:
    """Return the block of a tensor, such as "IN04", "layer 11" or "decoder.up.2".

    Args:
        name: In the single-file layout.
        part: Of the same tensor, by `release.architecture.contents.part_of`.
        architecture: As `release.architecture.sdxl.detect` names it.
    """
    if architecture == "sdxl" and part is Part.UNET:
        end = _UNET_ENDS.get(recipe_part_of(name))
        return end or SD_MECHA.block_of(name)
    rest = next(
        (name[len(each) :] for each in _PREFIXES if name.startswith(each)), name
    )
    words = rest.split(".")
    if words[-1] in _PARAMETERS and len(words) > 1:
        words.pop()
    end_at = next(
        (at + 1 for at, word in enumerate(words) if word.isdecimal()), _NAMED_PARTS
    )
    block = ".".join(words[:end_at])
    for layers in _LAYERS:
        if block.startswith(layers):
            return f"layer {block[len(layers) :]}"
    return block


def block_order(block: str) -> tuple[object, ...]:
    """Return what blocks of one part are sorted by: the U-Net's order, then numbers."""
    if block in _UNET_ORDER:
        return (0, _UNET_ORDER.index(block))
    words = _NUMBERS.split(block)
    return (1, [int(word) if at % 2 else word for at, word in enumerate(words)])
