"""Which tensor becomes what, counted on SDXL as consumers count."""

from collections import Counter
from math import prod

import pytest

from release.architecture.sdxl import Component, component_of, sdxl_tensors
from release.errors import UsageError
from release.formats.header import TensorSpec
from release.numeric.dtype import Dtype
from release.variants import PRESETS, assign_dtypes, find_preset

SDXL = {
    tensor.name: TensorSpec(
        tensor.name,
        Dtype.F16 if tensor.dtype.is_arithmetic else tensor.dtype,
        tensor.shape,
    )
    for tensor in sdxl_tensors()
}
UNET = {name for name in SDXL if name.startswith("model.diffusion_model.")}


@pytest.fixture(scope="module")
def fp8():
    return assign_dtypes(PRESETS["fp8"], SDXL, architecture="sdxl")


def test_fp8_casts_the_linear_and_conv_weights_of_the_unet_and_their_biases(fp8):
    cast = {name for name, dtype in fp8.items() if dtype is Dtype.F8_E4M3}
    ranks = Counter((name.rpartition(".")[2], len(SDXL[name].shape)) for name in cast)

    assert ranks == {("weight", 2): 743, ("weight", 4): 51, ("bias", 1): 374}
    assert len(cast) == 1168
    assert cast <= UNET


def test_fp8_keeps_the_rest_in_float16_and_copies_the_indices(fp8):
    rest = Counter(dtype for dtype in fp8.values() if dtype is not Dtype.F8_E4M3)

    assert rest == {Dtype.F16: 2515 - 1168 - 1, Dtype.I64: 1}


def test_majority_of_the_unets_tensors_is_fp8_as_forge_counts(fp8):
    share = sum(fp8[name] is Dtype.F8_E4M3 for name in UNET) / len(UNET)

    assert len(UNET) == 1680
    assert share == pytest.approx(0.695, abs=0.001)


def test_nearly_all_of_the_unets_elements_are_fp8_as_comfyui_counts(fp8):
    elements = {name: prod(SDXL[name].shape) for name in UNET}
    cast = sum(elements[name] for name in UNET if fp8[name] is Dtype.F8_E4M3)

    assert cast / sum(elements.values()) > 0.99


@pytest.mark.parametrize(
    "name",
    [
        "model.diffusion_model.out.0.weight",
        "model.diffusion_model.input_blocks.1.0.in_layers.0.bias",
        "model.diffusion_model.middle_block.1.norm.weight",
        "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight",
        "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight",
        "conditioner.embedders.1.model.text_projection",
        "first_stage_model.decoder.conv_in.weight",
        "first_stage_model.decoder.mid.attn_1.q.weight",
    ],
)
def test_norms_text_encoders_and_vae_stay_float16(fp8, name):
    assert fp8[name] is Dtype.F16


@pytest.mark.parametrize(
    "name",
    [
        "model.diffusion_model.time_embed.0.weight",
        "model.diffusion_model.time_embed.0.bias",
        "model.diffusion_model.label_emb.0.0.weight",
        "model.diffusion_model.input_blocks.0.0.weight",
        "model.diffusion_model.out.2.bias",
        "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight",
    ],
)
def test_layers_of_the_unet_are_fp8(fp8, name):
    assert fp8[name] is Dtype.F8_E4M3


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("fp32", Dtype.F32), ("fp16", Dtype.F16), ("bf16", Dtype.BF16)],
)
def test_uniform_presets_cast_everything_but_what_is_copied(name, dtype):
    found = assign_dtypes(find_preset(name), SDXL, architecture="sdxl")

    copied = {name for name in SDXL if name.endswith(("position_ids", "logit_scale"))}
    assert len(copied) == 2
    assert {found[name] for name in SDXL.keys() - copied} == {dtype}
    assert all(found[name] is SDXL[name].dtype for name in copied)
    assert not find_preset(name).reduced


def spec(name, dtype, *shape):
    return {name: TensorSpec(name, dtype, shape)}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    "name",
    [
        "conditioner.embedders.0.transformer.text_model.embeddings.position_ids",
        "conditioner.embedders.1.model.logit_scale",
        "alphas_cumprod",
        "v_pred",
    ],
)
def test_markers_and_buffers_keep_their_dtype_even_when_they_are_floats(preset, name):
    tensors = spec(name, Dtype.F32, 1000)

    found = assign_dtypes(find_preset(preset), tensors, architecture="sdxl")

    assert found == {name: Dtype.F32}


SD1 = {
    **spec("model.diffusion_model.input_blocks.1.1.proj_in.weight", Dtype.F32, 4, 4),
    **spec("model.diffusion_model.input_blocks.1.1.norm.weight", Dtype.F32, 4),
    **spec(
        "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight",
        Dtype.F32,
        4,
        4,
    ),
    **spec("first_stage_model.decoder.conv_in.weight", Dtype.F32, 4, 4, 3, 3),
}


@pytest.mark.parametrize("architecture", ["sd1", "sd2"])
def test_text_encoder_and_vae_of_older_architectures_are_spared_too(architecture):
    found = assign_dtypes(find_preset("fp8"), SD1, architecture=architecture)

    cast = [name for name, dtype in found.items() if dtype is Dtype.F8_E4M3]
    assert {component_of(name) for name in cast} == {Component.UNET}
    assert len(cast) == 1


def test_unknown_architecture_casts_surely_matrices_and_keeps_the_rest():
    tensors = {
        **spec("layers.0.attention.query.weight", Dtype.F32, 8, 8),
        **spec("layers.0.attention.query.bias", Dtype.F32, 8),
        **spec("layers.0.LayerNorm.weight", Dtype.BF16, 8),
        **spec("embeddings.word_embeddings.weight", Dtype.F32, 30, 8),
        **spec("stem.weight", Dtype.F16, 8, 3, 3, 3),
        **spec("ids", Dtype.I64, 8),
    }

    found = assign_dtypes(find_preset("fp8"), tensors, architecture="unknown")

    assert found == {
        "layers.0.attention.query.weight": Dtype.F8_E4M3,
        "layers.0.attention.query.bias": Dtype.F32,
        "layers.0.LayerNorm.weight": Dtype.BF16,
        "embeddings.word_embeddings.weight": Dtype.F32,
        "stem.weight": Dtype.F8_E4M3,
        "ids": Dtype.I64,
    }


@pytest.mark.parametrize(
    ("name", "hint"), [("fp61", "did you mean fp16?"), ("FP8", "fp8"), ("xyzzy", "")]
)
def test_unknown_variant_is_refused_with_the_list_and_a_guess(name, hint):
    with pytest.raises(UsageError) as caught:
        find_preset(name)

    assert (caught.value.code, caught.value.exit_code) == ("unknown-variant", 2)
    assert "fp32, fp16, bf16, fp8" in str(caught.value)
    assert hint in caught.value.hint
