"""What an architecture is built of, as counts: all names follow from these.

Source:
    Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", code
    and configurations of CompVis/stable-diffusion and Stability-AI/generative-models.
"""

from dataclasses import dataclass
from typing import Final

N_UNET_LAYERS: Final = 2
"""ResBlocks per level on the way down; one more on the way up."""

N_VAE_LAYERS: Final = 2
"""ResBlocks per level of the encoder; one more in the decoder."""

VAE_WIDTHS: Final = (1, 2, 4, 4)
"""Channels of every level of the VAE, as multiples of the first."""


@dataclass(frozen=True, slots=True)
class UnetForm:
    """The U-Net of one architecture.

    Attributes:
        widths: Channels of every level, as multiples of the first.
        depths: Transformer blocks of each attention of every level; 0 has none.
        middle_depth: The same between the way down and the way up.
        has_size_embedding: Whether image sizes are embedded besides the time.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    middle_depth: int
    has_size_embedding: bool


@dataclass(frozen=True, slots=True)
class TextForm:
    """One text encoder of an architecture.

    Attributes:
        component: Its subfolder.
        prefix: What its names begin with in a single file.
        n_layers: Transformer layers in the folder.
        is_open_clip: Whether the single file has it as open-clip writes it; otherwise
            the names are the same in both layouts.
        has_projection: Whether an output projection belongs to it.
    """

    component: str
    prefix: str
    n_layers: int
    is_open_clip: bool = False
    has_projection: bool = False


@dataclass(frozen=True, slots=True)
class Form:
    """One architecture: its U-Net and its text encoders; the VAE is always the same."""

    unet: UnetForm
    texts: tuple[TextForm, ...]


_SD_UNET: Final = UnetForm(
    widths=(1, 2, 4, 4),
    depths=(1, 1, 1, 0),
    middle_depth=1,
    has_size_embedding=False,
)

FORMS: Final[dict[str, Form]] = {
    "sdxl": Form(
        UnetForm(
            widths=(1, 2, 4),
            depths=(0, 2, 10),
            middle_depth=10,
            has_size_embedding=True,
        ),
        (
            TextForm("text_encoder", "conditioner.embedders.0.transformer.", 12),
            TextForm(
                "text_encoder_2",
                "conditioner.embedders.1.model.",
                32,
                is_open_clip=True,
                has_projection=True,
            ),
        ),
    ),
    "sd1": Form(
        _SD_UNET, (TextForm("text_encoder", "cond_stage_model.transformer.", 12),)
    ),
    "sd2": Form(
        _SD_UNET,
        (TextForm("text_encoder", "cond_stage_model.model.", 23, is_open_clip=True),),
    ),
}
"""Every architecture that is known in both layouts, by the name `detect` gives it.

SD2's encoder has a 24th layer and a projection in single files; its folders leave both
out, since images are made from the output of the 23rd.
"""
