"""Names of the VAE in both layouts.

The decoder's levels are counted from the image in a single file and from the latent in
a folder. Attention is made of 1 x 1 convolutions in a single file and of matrices in a
folder, where it had other names until diffusers 0.15.

Source:
    diffusers 0.42, `loaders/single_file_utils.py`, `convert_ldm_vae_checkpoint`, and
    `models/modeling_utils.py`, `_convert_deprecated_attention_blocks`.
"""

from collections.abc import Iterator
from typing import Final

from release.architecture.diffusers.forms import N_VAE_LAYERS, VAE_WIDTHS
from release.architecture.diffusers.row import Change, Row, module_rows

_PREFIX: Final = "first_stage_model."
_FOLDER: Final = "vae/"

_N_LEVELS: Final = len(VAE_WIDTHS)
_ENDS: Final = (
    ("conv_in", "conv_in"),
    ("norm_out", "conv_norm_out"),
    ("conv_out", "conv_out"),
)
_RESNET: Final = ("norm1", "conv1", "norm2", "conv2")
_ATTENTION: Final = (
    ("norm", "group_norm", Change.NONE),
    ("q", "to_q", Change.CONVOLUTION),
    ("k", "to_k", Change.CONVOLUTION),
    ("v", "to_v", Change.CONVOLUTION),
    ("proj_out", "to_out.0", Change.CONVOLUTION),
)
_OLD_ATTENTION: Final = {
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "proj_attn": "to_out.0",
}


def vae_rows() -> Iterator[Row]:
    """Yield every tensor of the VAE, both names with their prefixes."""
    for module in ("quant_conv", "post_quant_conv"):
        yield from module_rows(f"{_PREFIX}{module}", f"{_FOLDER}{module}")
    for half in ("encoder", "decoder"):
        for single, part in _ENDS:
            yield from _module(half, single, part)
        yield from _middle(half)
    yield from _down()
    yield from _up()


def modern_vae_name(name: str) -> str:
    """Return a folder's name as diffusers writes it since 0.15; most are unchanged."""
    module, _, parameter = name.rpartition(".")
    block, _, last = module.rpartition(".")
    if last in _OLD_ATTENTION and ".attentions." in block:
        return f"{block}.{_OLD_ATTENTION[last]}.{parameter}"
    return name


def _module(
    half: str, single: str, part: str, change: Change = Change.NONE
) -> Iterator[Row]:
    yield from module_rows(
        f"{_PREFIX}{half}.{single}", f"{_FOLDER}{half}.{part}", change
    )


def _middle(half: str) -> Iterator[Row]:
    for number in range(2):
        yield from _resnet(
            half,
            f"mid.block_{number + 1}",
            f"mid_block.resnets.{number}",
            has_shortcut=False,
        )
    for single, part, change in _ATTENTION:
        yield from _module(
            half, f"mid.attn_1.{single}", f"mid_block.attentions.0.{part}", change
        )


def _down() -> Iterator[Row]:
    for level in range(_N_LEVELS):
        narrower = VAE_WIDTHS[max(level - 1, 0)]
        for layer in range(N_VAE_LAYERS):
            yield from _resnet(
                "encoder",
                f"down.{level}.block.{layer}",
                f"down_blocks.{level}.resnets.{layer}",
                has_shortcut=layer == 0 and narrower != VAE_WIDTHS[level],
            )
        if level < _N_LEVELS - 1:
            yield from _module(
                "encoder",
                f"down.{level}.downsample.conv",
                f"down_blocks.{level}.downsamplers.0.conv",
            )


def _up() -> Iterator[Row]:
    for level in range(_N_LEVELS):
        part = f"up_blocks.{_N_LEVELS - 1 - level}"
        wider = VAE_WIDTHS[min(level + 1, _N_LEVELS - 1)]
        for layer in range(N_VAE_LAYERS + 1):
            yield from _resnet(
                "decoder",
                f"up.{level}.block.{layer}",
                f"{part}.resnets.{layer}",
                has_shortcut=layer == 0 and wider != VAE_WIDTHS[level],
            )
        if level > 0:
            yield from _module(
                "decoder", f"up.{level}.upsample.conv", f"{part}.upsamplers.0.conv"
            )


def _resnet(half: str, single: str, part: str, *, has_shortcut: bool) -> Iterator[Row]:
    for module in _RESNET:
        yield from _module(half, f"{single}.{module}", f"{part}.{module}")
    if has_shortcut:
        yield from _module(half, f"{single}.nin_shortcut", f"{part}.conv_shortcut")
