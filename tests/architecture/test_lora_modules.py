"""Layers that a LoRA can hold, under names that lead back to them."""

import pytest

from release.architecture.lora_modules import lora_modules
from release.architecture.lora_names import lora_names, trained_names
from release.architecture.sdxl import narrow_shape, sdxl_tensors
from release.formats.lora.places import Place
from release.formats.tensor import TensorEntry
from release.numeric.dtype import Dtype

UNET = "model.diffusion_model."
TENSORS = {
    each.name: TensorEntry(each.name, each.dtype, narrow_shape(each, 32), 0, 0)
    for each in sdxl_tensors()
}
MODULES = lora_modules(TENSORS, "sdxl")


def test_every_name_leads_back_to_its_layer_alone():
    names = lora_names(TENSORS, "sdxl")

    assert len({module.name for module in MODULES}) == len(MODULES)
    assert all(names[f"{m.name}.weight"] == (m.place,) for m in MODULES)


def test_layers_are_all_matrices_and_convolutions_outside_the_vae():
    expected = {
        name
        for name, entry in TENSORS.items()
        if name.endswith(("weight", "in_proj_weight"))
        and len(entry.shape) in {2, 4}
        and "embedding" not in name
        and not name.startswith("first_stage_model.")
    }

    assert {module.place.tensor for module in MODULES} == expected


def test_packed_attention_is_three_layers_of_a_third_each():
    name = "conditioner.embedders.1.model.transformer.resblocks.31.attn.in_proj_weight"
    found = [module for module in MODULES if module.place.tensor == name]

    prefix = "lora_te2_text_model_encoder_layers_31_self_attn_"
    assert [module.name for module in found] == [
        f"{prefix}{part}_proj" for part in "qkv"
    ]
    assert [module.place for module in found] == [Place(name, n, 3) for n in range(3)]
    assert {module.shape for module in found} == {(40, 40)}


@pytest.mark.parametrize(
    ("architecture", "tensor", "names"),
    [
        (
            "sd1",
            f"{UNET}input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight",
            ("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q",),
        ),
        (
            "sd1",
            "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight",
            ("lora_te_text_model_encoder_layers_0_mlp_fc1",),
        ),
        ("sd1", "first_stage_model.decoder.conv_in.weight", ()),
        ("unknown", f"{UNET}input_blocks.0.0.weight", ("lora_unet_input_blocks_0_0",)),
        ("unknown", f"{UNET}input_blocks.0.0.bias", ()),
        ("unknown", "encoder.weight", ()),
    ],
)
def test_names_of_other_architectures(architecture, tensor, names):
    assert trained_names(tensor, architecture) == names


def test_weights_that_are_only_copied_and_odd_stacks_are_no_layers():
    linear = f"{UNET}out.2.weight"
    packed = "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight"

    def layers(name: str, dtype: Dtype, shape: tuple[int, ...]) -> int:
        return len(lora_modules({name: TensorEntry(name, dtype, shape, 0, 0)}, "sdxl"))

    assert layers(linear, Dtype.F16, (4, 4)) == 1
    assert layers(linear, Dtype.U8, (4, 4)) == 0
    assert layers(linear, Dtype.F16, (4, 0)) == 0
    assert layers(linear, Dtype.F16, (4, 4, 3)) == 0
    assert layers(packed, Dtype.F16, (6, 2)) == 3
    assert layers(packed, Dtype.F16, (7, 2)) == 0
