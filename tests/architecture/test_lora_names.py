"""Every spelling of every module leads to its tensor, and to no other."""

import struct

import numpy as np
import pytest
from safetensors.numpy import save_file

from release.architecture.diffusers.single_file import folder_names, single_file_name
from release.architecture.lora import open_lora
from release.architecture.lora_names import lora_names
from release.architecture.sdxl import narrow_shape, sdxl_tensors
from release.errors import TensorMismatchError
from release.formats.lora.places import Place
from release.formats.tensor import TensorEntry

UNET = "model.diffusion_model."
CLIP_L = "conditioner.embedders.0.transformer.text_model."
CLIP_G = "conditioner.embedders.1.model."
SHAPES = {entry.name: narrow_shape(entry, 32) for entry in sdxl_tensors()}
UNET_MODULES = [
    name.removesuffix(".weight")
    for name, shape in SHAPES.items()
    if name.startswith(UNET) and name.endswith(".weight") and len(shape) > 1
]


@pytest.fixture(scope="module")
def names():
    return lora_names(SHAPES, "sdxl")


@pytest.fixture(scope="module")
def model():
    return {
        entry.name: TensorEntry(entry.name, entry.dtype, SHAPES[entry.name], 0, 0)
        for entry in sdxl_tensors()
    }


def flat(name):
    return name.replace(".", "_")


@pytest.mark.parametrize(
    ("module", "tensor"),
    [
        (
            "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q",
            f"{UNET}input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight",
        ),
        (
            "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q",
            f"{UNET}input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight",
        ),
        (
            "lora_unet_down_blocks_2_attentions_1_transformer_blocks_9_ff_net_0_proj",
            f"{UNET}input_blocks.8.1.transformer_blocks.9.ff.net.0.proj.weight",
        ),
        (
            "lora_unet_mid_block_attentions_0_proj_in",
            f"{UNET}middle_block.1.proj_in.weight",
        ),
        (
            "lora_unet_up_blocks_0_attentions_2_transformer_blocks_3_attn2_to_out_0",
            f"{UNET}output_blocks.2.1.transformer_blocks.3.attn2.to_out.0.weight",
        ),
        (
            "lora_unet_up_blocks_1_attentions_0_proj_out",
            f"{UNET}output_blocks.3.1.proj_out.weight",
        ),
        (
            "lora_unet_down_blocks_0_downsamplers_0_conv",
            f"{UNET}input_blocks.3.0.op.weight",
        ),
        (
            "lora_unet_up_blocks_1_upsamplers_0_conv",
            f"{UNET}output_blocks.5.2.conv.weight",
        ),
        (
            "lora_unet_down_blocks_1_resnets_0_time_emb_proj",
            f"{UNET}input_blocks.4.0.emb_layers.1.weight",
        ),
        ("lora_unet_conv_in", f"{UNET}input_blocks.0.0.weight"),
        ("lora_unet_out_2", f"{UNET}out.2.weight"),
        ("lora_unet_add_embedding_linear_1", f"{UNET}label_emb.0.0.weight"),
        (
            "lora_te1_text_model_encoder_layers_11_mlp_fc1",
            f"{CLIP_L}encoder.layers.11.mlp.fc1.weight",
        ),
        (
            "lora_te2_text_model_encoder_layers_31_mlp_fc2",
            f"{CLIP_G}transformer.resblocks.31.mlp.c_proj.weight",
        ),
        (
            "lora_te2_text_model_encoder_layers_0_self_attn_out_proj",
            f"{CLIP_G}transformer.resblocks.0.attn.out_proj.weight",
        ),
        (
            "lora_te2_text_model_embeddings_position_embedding",
            f"{CLIP_G}positional_embedding",
        ),
        (
            "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_v",
            f"{UNET}middle_block.1.transformer_blocks.0.attn1.to_v.weight",
        ),
        (
            "unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_v",
            f"{UNET}middle_block.1.transformer_blocks.0.attn1.to_v.weight",
        ),
        (
            "unet.mid_block.attentions.0.transformer_blocks.0.attn2.processor.to_out",
            f"{UNET}middle_block.1.transformer_blocks.0.attn2.to_out.0.weight",
        ),
        (
            "diffusion_model.middle_block.1.proj_in",
            f"{UNET}middle_block.1.proj_in.weight",
        ),
        (
            "text_encoder.text_model.encoder.layers.0.self_attn.q_proj",
            f"{CLIP_L}encoder.layers.0.self_attn.q_proj.weight",
        ),
        (
            "lora_te1_encoder_layers_0_self_attn_q_proj",
            f"{CLIP_L}encoder.layers.0.self_attn.q_proj.weight",
        ),
        (
            "text_encoder.encoder.layers.0.self_attn.q_proj",
            f"{CLIP_L}encoder.layers.0.self_attn.q_proj.weight",
        ),
    ],
)
def test_name_as_trainers_write_it(names, module, tensor):
    assert names[f"{module}.weight"] == (Place(tensor),)


@pytest.mark.parametrize("spelled", ["lora_te2_{}", "text_encoder_2.{}"])
@pytest.mark.parametrize("parameter", ["weight", "bias"])
def test_query_key_and_value_are_parts_of_the_packed_tensor(names, spelled, parameter):
    tensor = f"{CLIP_G}transformer.resblocks.7.attn.in_proj_{parameter}"

    for number, letter in enumerate("qkv"):
        inner = f"text_model.encoder.layers.7.self_attn.{letter}_proj"
        module = flat(inner) if "." not in spelled else inner
        found = names[f"{spelled.format(module)}.{parameter}"]
        assert found == (Place(tensor, number, 3),)


def test_projection_is_transposed(names):
    found = names["lora_te2_text_projection.weight"]

    assert found == (Place(f"{CLIP_G}text_projection", transposed=True),)
    assert [
        name for name, places in names.items() if any(p.transposed for p in places)
    ] == ["lora_te2_text_projection.weight", "text_encoder_2.text_projection.weight"]


def test_all_modules_of_the_unet_are_reached_in_both_spellings_and_back(names):
    assert len(UNET_MODULES) == 743 + 51

    for module in UNET_MODULES:
        place = (Place(f"{module}.weight"),)
        (part,) = folder_names(f"{module}.weight", "sdxl")
        diffusers = part.removeprefix("unet/").removesuffix(".weight")
        inner = module.removeprefix(UNET)
        for spelling in (f"lora_unet_{flat(inner)}", f"diffusion_model.{inner}"):
            assert names[f"{spelling}.weight"] == place
        for spelling in (f"lora_unet_{flat(diffusers)}", f"unet.{diffusers}"):
            assert names[f"{spelling}.weight"] == place
        assert single_file_name(f"unet/{diffusers}.weight", "sdxl") == place[0].tensor


@pytest.mark.parametrize(
    ("prefix", "component", "n_layers"),
    [("lora_te1_", "text_encoder", 12), ("lora_te2_", "text_encoder_2", 32)],
)
def test_all_modules_of_a_text_encoder_are_reached(names, prefix, component, n_layers):
    inner = (
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.out_proj",
        "mlp.fc1",
        "mlp.fc2",
    )
    reached = set()

    for layer in range(n_layers):
        for module in inner:
            dotted = f"text_model.encoder.layers.{layer}.{module}"
            for parameter in ("weight", "bias"):
                (place,) = names[f"{prefix}{flat(dotted)}.{parameter}"]
                assert names[f"{component}.{dotted}.{parameter}"] == (place,)
                name = f"{component}/{dotted}.{parameter}"
                assert single_file_name(name, "sdxl") == place.tensor
                reached.add((place.tensor, place.part))

    assert len(reached) == n_layers * len(inner) * 2


def test_no_name_stands_for_two_tensors(names):
    assert all(len(places) == 1 for places in names.values())


def test_every_place_is_named_for_unet_and_text_encoders(names):
    named = {place.tensor for places in names.values() for place in places}
    last = ("weight", "bias")
    plain = {
        name for name in SHAPES if name.endswith(last) and "first_stage" not in name
    }

    assert plain < named
    assert {name for name in named if name.startswith("first_stage_model.")} == {
        name for name in SHAPES if name.startswith("first_stage_model.")
    }


def test_modules_that_underscores_make_one_are_told(names):
    tensors = [f"{UNET}a.b_c.weight", f"{UNET}a_b.c.weight"]

    found = lora_names(tensors, "sdxl")

    assert found["lora_unet_a_b_c.weight"] == tuple(Place(name) for name in tensors)
    assert found["diffusion_model.a.b_c.weight"] == (Place(tensors[0]),)


@pytest.mark.parametrize(
    ("architecture", "tensor", "module"),
    [
        (
            "sd1",
            "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight",
            "lora_te_text_model_encoder_layers_0_mlp_fc1",
        ),
        (
            "sd2",
            "cond_stage_model.model.transformer.resblocks.0.mlp.c_fc.weight",
            "lora_te_text_model_encoder_layers_0_mlp_fc1",
        ),
        (
            "sd1",
            f"{UNET}input_blocks.1.1.proj_in.weight",
            "lora_unet_down_blocks_0_attentions_0_proj_in",
        ),
        ("unknown", f"{UNET}blocks.0.weight", "lora_unet_blocks_0"),
    ],
)
def test_other_architectures_have_their_own_names(architecture, tensor, module):
    found = lora_names([tensor], architecture)

    assert found[f"{module}.weight"] == (Place(tensor),)
    assert "lora_te1_text_model_encoder_layers_0_mlp_fc1.weight" not in found


def test_lora_of_sdxl_is_opened_under_the_names_of_the_model(tmp_path, model):
    rank = np.full((1, 40), 0.5, np.float16), np.full((40, 1), 2.0, np.float16)
    tensors = {}
    for module in (
        "lora_te2_text_model_encoder_layers_0_self_attn_k_proj",
        "lora_te2_text_model_encoder_layers_0_self_attn_out_proj",
    ):
        tensors[f"{module}.lora_down.weight"] = rank[0]
        tensors[f"{module}.lora_up.weight"] = rank[1]
    path = tmp_path / "style.safetensors"
    save_file(tensors, path)
    packed = f"{CLIP_G}transformer.resblocks.0.attn.in_proj_weight"

    with open_lora(path, model, architecture="sdxl") as lora:
        assert [*lora.tensors] == [
            packed,
            f"{CLIP_G}transformer.resblocks.0.attn.out_proj.weight",
        ]
        entry = lora.tensors[packed]
        buffer = bytearray(entry.nbytes)
        lora.read_into(entry, 0, memoryview(buffer))

    assert entry.shape == (120, 40)
    zeros, ones = bytes(40 * 40 * 4), struct.pack("<f", 1.0) * 1600
    assert bytes(buffer) == zeros + ones + zeros


@pytest.mark.parametrize(
    "module",
    [
        "lora_te_text_model_encoder_layers_0_mlp_fc1",
        "lora_te1_text_model_encoder_layers_12_mlp_fc1",
        "lora_unet_input_blocks_4_1_transformer_blocks_2_attn1_to_q",
        "lora_unet_output_blocks_0_1_transformer_blocks_10_attn1_to_q",
        "base_model.model.mid_block.attentions.0.proj_in",
        "lora_prior_unet_conv_in",
        "vae.decoder.conv_in",
        "first_stage_model/decoder.conv_in",
    ],
)
def test_module_of_another_model_is_refused_by_name(tmp_path, model, module):
    factors = np.ones((1, 1), np.float16)
    path = tmp_path / "style.safetensors"
    save_file(
        {f"{module}.lora_down.weight": factors, f"{module}.lora_up.weight": factors},
        path,
    )

    with pytest.raises(TensorMismatchError, match="2 names that match no") as caught:
        open_lora(path, model, architecture="sdxl")

    assert caught.value.code == "lora-names"
    assert module in str(caught.value)
