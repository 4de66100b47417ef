"""What a file holds, told from its tensor names."""

import pytest

from release.architecture.contents import Contents, Part, contents_of, part_of
from release.architecture.sdxl import sdxl_tensors

OF_SDXL = {part_of(entry.name) for entry in sdxl_tensors()}


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("model.diffusion_model.out.0.bias", "unet"),
        ("conditioner.embedders.0.transformer.text_model.x", "clip_l"),
        ("conditioner.embedders.1.model.ln_final.bias", "clip_g"),
        ("cond_stage_model.model.ln_final.bias", "clip_l"),
        ("first_stage_model.quant_conv.bias", "vae"),
        ("decoder.up.0.block.0.conv1.weight", "vae"),
        ("decoder.up_blocks.0.resnets.0.conv1.weight", "vae"),
        ("decoder.mid_block.attentions.0.to_q.bias", "vae"),
        ("encoder.conv_in.weight", "vae"),
        ("post_quant_conv.bias", "vae"),
        ("encoder.block.0.layer.0.SelfAttention.q.weight", "other"),
        ("down_blocks.0.resnets.0.conv1.weight", "unet"),
        ("add_embedding.linear_1.bias", "unet"),
        ("input_blocks.0.0.weight", "unet"),
        ("text_model.encoder.layers.0.mlp.fc1.bias", "text_encoder"),
        ("unet/conv_in.weight", "unet"),
        ("vae/encoder.conv_in.weight", "vae"),
        ("text_encoder/text_model.final_layer_norm.bias", "text_encoder"),
        ("text_encoder_2/text_projection.weight", "text_encoder"),
        ("model_ema.diffusion_modelout0bias", "ema"),
        ("model_ema.decay", "ema"),
        ("lora_unet_mid_block_attentions_0_proj_in.lora_up.weight", "lora"),
        ("lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha", "lora"),
        ("unet.mid_block.attentions.0.to_k.lora_A.weight", "lora"),
        ("transformer.blocks.0.attn.to_q.lora_down.weight", "lora"),
        ("x.hada_w1_a", "lora"),
        ("x.lokr_w2", "lora"),
        ("alphas_cumprod", "other"),
        ("v_pred", "other"),
        ("", "other"),
    ],
)
def test_names_tell_the_part(name, part):
    assert part_of(name).value == part


@pytest.mark.parametrize(
    ("parts", "contents"),
    [
        (OF_SDXL, Contents.ALL_IN_ONE),
        ({Part.UNET, Part.CLIP_L, Part.VAE, Part.EMA}, Contents.ALL_IN_ONE),
        ({Part.UNET, Part.TEXT_ENCODER, Part.VAE}, Contents.ALL_IN_ONE),
        ({Part.UNET, Part.OTHER}, Contents.UNET),
        ({Part.VAE, Part.EMA}, Contents.VAE),
        ({Part.CLIP_L, Part.CLIP_G}, Contents.TEXT_ENCODER),
        ({Part.TEXT_ENCODER}, Contents.TEXT_ENCODER),
        ({Part.UNET, Part.VAE}, Contents.SOME_PARTS),
        ({Part.UNET, Part.CLIP_L, Part.CLIP_G}, Contents.SOME_PARTS),
        ({Part.LORA, Part.OTHER}, Contents.LORA),
        ({Part.OTHER}, Contents.UNKNOWN),
        ({Part.EMA}, Contents.UNKNOWN),
        (set(), Contents.UNKNOWN),
    ],
)
def test_parts_tell_the_contents(parts, contents):
    assert contents_of(parts) is contents


def test_sdxl_has_four_parts_and_no_rest():
    assert {Part.UNET, Part.CLIP_L, Part.CLIP_G, Part.VAE} == OF_SDXL
