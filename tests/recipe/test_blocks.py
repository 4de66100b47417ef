"""Where in its model a tensor is."""

import pytest

from release.architecture.contents import part_of
from release.architecture.sdxl import sdxl_tensors
from release.recipe.blocks import block_of, block_order

UNET = "model.diffusion_model."


@pytest.mark.parametrize(
    ("name", "architecture", "block"),
    [
        (f"{UNET}time_embed.0.weight", "sdxl", "time_embed"),
        (f"{UNET}label_emb.0.0.bias", "sdxl", "label_emb"),
        (f"{UNET}input_blocks.0.0.weight", "sdxl", "IN00"),
        (f"{UNET}input_blocks.8.1.proj_in.weight", "sdxl", "IN08"),
        (f"{UNET}middle_block.1.norm.weight", "sdxl", "M00"),
        (f"{UNET}output_blocks.4.0.in_layers.2.bias", "sdxl", "OUT04"),
        (f"{UNET}out.2.weight", "sdxl", "out"),
        (f"{UNET}input_blocks.11.0.in_layers.2.bias", "sd1", "input_blocks.11"),
        (
            "conditioner.embedders.0.transformer.text_model.encoder.layers.11.x",
            "sdxl",
            "layer 11",
        ),
        (
            "conditioner.embedders.1.model.transformer.resblocks.31.ln_1.bias",
            "sdxl",
            "layer 31",
        ),
        ("conditioner.embedders.1.model.logit_scale", "sdxl", "logit_scale"),
        ("first_stage_model.decoder.up.2.block.0.conv1.bias", "sdxl", "decoder.up.2"),
        ("first_stage_model.encoder.mid.attn_1.k.weight", "sdxl", "encoder.mid"),
        ("first_stage_model.quant_conv.weight", "sdxl", "quant_conv"),
        ("double_blocks.18.img_attn.qkv.weight", "unknown", "double_blocks.18"),
        ("model.layers.3.mlp.up_proj.weight", "unknown", "model.layers.3"),
        ("final.proj.linear.weight", "unknown", "final.proj"),
        ("weight", "unknown", "weight"),
        ("", "unknown", ""),
    ],
)
def test_block_of_a_tensor(name, architecture, block):
    assert block_of(name, part_of(name), architecture) == block


def test_sdxl_has_few_blocks_and_its_u_net_begins_with_the_embeddings():
    found = {}
    for tensor in sdxl_tensors():
        part = part_of(tensor.name)
        found.setdefault(part.value, set()).add(block_of(tensor.name, part, "sdxl"))

    ordered = sorted(found["unet"], key=block_order)
    assert ordered[:3] == ["time_embed", "label_emb", "IN00"]
    assert ordered[11:13] == ["M00", "OUT00"]
    assert ordered[-1] == "out"
    assert {part: len(blocks) for part, blocks in found.items()} == {
        "unet": 22,
        "clip_l": 16,
        "clip_g": 37,
        "vae": 18,
    }


def test_numbers_are_counted_not_spelled():
    blocks = ["layer 10", "layer 9", "b.2", "b.11", "ln", "IN04"]

    assert sorted(blocks, key=block_order) == [
        "IN04",
        "b.2",
        "b.11",
        "layer 9",
        "layer 10",
        "ln",
    ]


def test_numbers_of_any_length_are_ordered():
    blocks = [f"layer {number}" for number in ("10", "9", "1" * 5000)]

    assert sorted(blocks, key=block_order)[:2] == ["layer 9", "layer 10"]
