"""Recognising a LoRA by the names of its tensors."""

import pytest

from release.formats.lora.modules import is_lora


@pytest.mark.parametrize(
    "name",
    [
        "lora_unet_input_blocks_4_1_proj_in.lora_down.weight",
        "lora_unet_x.hada_w1_a",
        "lora_unet_x.lokr_w2_b",
        "lora_unet_x.diff",
        "lora_te1_x.w_norm",
        "unet.x.lora_A.weight",
        "unet.x.processor.to_q_lora.up.weight",
    ],
)
def test_one_factor_makes_a_lora(name):
    assert is_lora(["alpha", "other.weight", name])


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["model.diffusion_model.out.2.weight", "first_stage_model.quant_conv.bias"],
        ["control_model.alpha"],
    ],
)
def test_model_is_no_lora(names):
    assert not is_lora(names)
