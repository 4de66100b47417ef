"""Names of the U-Net in both layouts.

A single file counts all blocks of the way down, and of the way up, in one row, and
calls what is in a block by number. A folder counts levels, and in them ResBlocks,
attentions and samplers, each from 0.

Source:
    diffusers 0.42, `loaders/single_file_utils.py`, `convert_ldm_unet_checkpoint`.
"""

from collections.abc import Iterator
from typing import Final

from release.architecture.diffusers.forms import N_UNET_LAYERS, UnetForm
from release.architecture.diffusers.row import Row, module_rows

_PREFIX: Final = "model.diffusion_model."
_FOLDER: Final = "unet/"

_ENDS: Final = (
    ("time_embed.0", "time_embedding.linear_1"),
    ("time_embed.2", "time_embedding.linear_2"),
    ("input_blocks.0.0", "conv_in"),
    ("out.0", "conv_norm_out"),
    ("out.2", "conv_out"),
)
_SIZE_EMBEDDING: Final = (
    ("label_emb.0.0", "add_embedding.linear_1"),
    ("label_emb.0.2", "add_embedding.linear_2"),
)
_RESNET: Final = (
    ("in_layers.0", "norm1"),
    ("in_layers.2", "conv1"),
    ("emb_layers.1", "time_emb_proj"),
    ("out_layers.0", "norm2"),
    ("out_layers.3", "conv2"),
)
_SHORTCUT: Final = ("skip_connection", "conv_shortcut")
_ATTENTION: Final = ("norm", "proj_in", "proj_out")
_TRANSFORMER: Final = (
    "attn1.to_out.0",
    "attn2.to_out.0",
    "ff.net.0.proj",
    "ff.net.2",
    "norm1",
    "norm2",
    "norm3",
)
_TRANSFORMER_WEIGHTS: Final = tuple(
    f"{attention}.to_{matrix}.weight"
    for attention in ("attn1", "attn2")
    for matrix in "qkv"
)


def unet_rows(form: UnetForm) -> Iterator[Row]:
    """Yield every tensor of the U-Net, both names with their prefixes."""
    ends = (*_ENDS, *_SIZE_EMBEDDING) if form.has_size_embedding else _ENDS
    for single, part in ends:
        yield from module_rows(f"{_PREFIX}{single}", f"{_FOLDER}{part}")
    yield from _down(form)
    yield from _middle(form)
    yield from _up(form)


def _down(form: UnetForm) -> Iterator[Row]:
    """Yield the way down: after the first convolution, levels of 2 blocks and 1 op."""
    last = len(form.widths) - 1
    for level, depth in enumerate(form.depths):
        first = 1 + level * (N_UNET_LAYERS + 1)
        for layer in range(N_UNET_LAYERS):
            widens = (
                layer == 0
                and level > 0
                and form.widths[level] != form.widths[level - 1]
            )
            yield from _resnet(
                f"input_blocks.{first + layer}.0",
                f"down_blocks.{level}.resnets.{layer}",
                has_shortcut=widens,
            )
            yield from _attention(
                f"input_blocks.{first + layer}.1",
                f"down_blocks.{level}.attentions.{layer}",
                depth,
            )
        if level < last:
            yield from module_rows(
                f"{_PREFIX}input_blocks.{first + N_UNET_LAYERS}.0.op",
                f"{_FOLDER}down_blocks.{level}.downsamplers.0.conv",
            )


def _middle(form: UnetForm) -> Iterator[Row]:
    yield from _resnet("middle_block.0", "mid_block.resnets.0", has_shortcut=False)
    yield from _attention("middle_block.1", "mid_block.attentions.0", form.middle_depth)
    yield from _resnet("middle_block.2", "mid_block.resnets.1", has_shortcut=False)


def _up(form: UnetForm) -> Iterator[Row]:
    """Yield the way up: levels of 3 blocks, the last of them with the upsampler."""
    last = len(form.widths) - 1
    for level, depth in enumerate(reversed(form.depths)):
        first = level * (N_UNET_LAYERS + 1)
        for layer in range(N_UNET_LAYERS + 1):
            yield from _resnet(
                f"output_blocks.{first + layer}.0",
                f"up_blocks.{level}.resnets.{layer}",
                has_shortcut=True,
            )
            yield from _attention(
                f"output_blocks.{first + layer}.1",
                f"up_blocks.{level}.attentions.{layer}",
                depth,
            )
        if level < last:
            place = 2 if depth else 1
            yield from module_rows(
                f"{_PREFIX}output_blocks.{first + N_UNET_LAYERS}.{place}.conv",
                f"{_FOLDER}up_blocks.{level}.upsamplers.0.conv",
            )


def _resnet(single: str, part: str, *, has_shortcut: bool) -> Iterator[Row]:
    for old, new in (*_RESNET, _SHORTCUT) if has_shortcut else _RESNET:
        yield from module_rows(f"{_PREFIX}{single}.{old}", f"{_FOLDER}{part}.{new}")


def _attention(single: str, part: str, depth: int) -> Iterator[Row]:
    """Yield an attention of `depth` transformer blocks, whose inner names are equal."""
    if depth == 0:
        return
    blocks = [f"transformer_blocks.{block}" for block in range(depth)]
    modules = [
        *_ATTENTION,
        *(f"{block}.{module}" for block in blocks for module in _TRANSFORMER),
    ]
    for module in modules:
        yield from module_rows(
            f"{_PREFIX}{single}.{module}", f"{_FOLDER}{part}.{module}"
        )
    for block in blocks:
        for weight in _TRANSFORMER_WEIGHTS:
            yield Row(
                f"{_PREFIX}{single}.{block}.{weight}",
                (f"{_FOLDER}{part}.{block}.{weight}",),
            )
