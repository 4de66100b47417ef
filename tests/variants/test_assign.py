"""Which tensor becomes what under each preset, and why."""

from collections import Counter

import pytest

from release.architecture.sdxl import Component, component_of
from release.errors import UsageError
from release.numeric.dtype import Dtype
from release.variants.assign import assign
from release.variants.preset import PRESET_NAMES, find_preset

UNET = "model.diffusion_model."
CLIP_L = "conditioner.embedders.0.transformer.text_model."
ATTENTION = f"{UNET}input_blocks.4.1.transformer_blocks.0.attn1."


@pytest.fixture(scope="module")
def fp8(sdxl):
    return assign(find_preset("fp8"), sdxl, architecture="sdxl")


def test_fp8_casts_the_linear_and_conv_weights_of_the_unet_and_their_biases(fp8, sdxl):
    cast = {name for name, each in fp8.items() if each.dtype is Dtype.F8_E4M3}
    ranks = Counter((name.rpartition(".")[2], len(sdxl[name].shape)) for name in cast)

    assert ranks == {("weight", 2): 743, ("weight", 4): 51, ("bias", 1): 374}
    assert all(name.startswith(UNET) for name in cast)
    assert not any(each.scaled for each in fp8.values())


def test_order_is_that_of_the_checkpoint(fp8, sdxl):
    assert list(fp8) == list(sdxl)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (f"{UNET}out.0.weight", "norms"),
        (f"{UNET}input_blocks.1.0.in_layers.0.bias", "norms"),
        (f"{UNET}middle_block.1.norm.weight", "norms"),
        (
            f"{CLIP_L}embeddings.token_embedding.weight",
            "text encoders",
        ),
        (
            "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight",
            "text encoders",
        ),
        ("conditioner.embedders.1.model.text_projection", "text encoders"),
        ("first_stage_model.decoder.conv_in.weight", "VAE"),
        ("first_stage_model.decoder.mid.attn_1.q.weight", "VAE"),
    ],
)
def test_norms_text_encoders_and_vae_stay_float16_for_a_reason(fp8, name, reason):
    assert fp8[name].dtype is Dtype.F16
    assert reason in fp8[name].reason


@pytest.mark.parametrize(
    "name",
    [
        f"{UNET}time_embed.0.weight",
        f"{UNET}time_embed.0.bias",
        f"{UNET}label_emb.0.0.weight",
        f"{UNET}input_blocks.0.0.weight",
        f"{UNET}out.2.bias",
        f"{ATTENTION}to_q.weight",
    ],
)
def test_layers_of_the_unet_are_fp8(fp8, name):
    assert fp8[name].dtype is Dtype.F8_E4M3


def test_fp8_e5m2_is_fp8_in_the_other_format(fp8, sdxl):
    found = assign(find_preset("fp8-e5m2"), sdxl, architecture="sdxl")

    swapped = {Dtype.F8_E4M3: Dtype.F8_E5M2}
    assert {name: each.dtype for name, each in found.items()} == {
        name: swapped.get(each.dtype, each.dtype) for name, each in fp8.items()
    }


def test_fp8_scaled_scales_every_matrix_of_the_unet_and_nothing_else(sdxl):
    found = assign(find_preset("fp8-scaled"), sdxl, architecture="sdxl")

    scaled = {name for name, each in found.items() if each.scaled}
    assert scaled == {
        name
        for name, tensor in sdxl.items()
        if name.startswith(UNET) and len(tensor.shape) == 2
    }
    assert len(scaled) == 743
    assert found[f"{UNET}out.2.weight"].reason == "ComfyUI has no scaled Conv2d"
    assert {found[name].dtype for name in scaled} == {Dtype.F8_E4M3}
    assert {found[name].dtype for name in sdxl.keys() - scaled} == {
        Dtype.F16,
        Dtype.I64,
    }


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("fp32", Dtype.F32), ("fp16", Dtype.F16), ("bf16", Dtype.BF16)],
)
def test_uniform_presets_cast_everything_but_what_is_copied(sdxl, name, dtype):
    found = assign(find_preset(name), sdxl, architecture="sdxl")

    copied = {name for name in sdxl if name.endswith(("position_ids", "logit_scale"))}
    assert len(copied) == 2
    assert {found[name].dtype for name in sdxl.keys() - copied} == {dtype}
    assert all(found[name].dtype is sdxl[name].dtype for name in copied)


@pytest.mark.parametrize("preset", PRESET_NAMES)
@pytest.mark.parametrize("architecture", ["sdxl", "unknown"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "conditioner.embedders.0.transformer.text_model.embeddings.position_ids",
            "indices",
        ),
        ("conditioner.embedders.1.model.logit_scale", "training constant"),
        ("alphas_cumprod", "noise schedule"),
        ("v_pred", "marker"),
    ],
)
def test_markers_and_buffers_keep_their_dtype_even_when_they_are_floats(
    checkpoint, preset, architecture, name, reason
):
    tensors = checkpoint({name: (Dtype.F32, 1000)})

    found = assign(find_preset(preset), tensors, architecture=architecture)[name]

    assert (found.dtype, found.scaled) == (Dtype.F32, False)
    assert reason in found.reason


SD1 = {
    f"{UNET}input_blocks.1.1.proj_in.weight": (Dtype.F32, 4, 4, 1, 1),
    f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (Dtype.F32, 4, 4),
    f"{UNET}input_blocks.1.1.norm.weight": (Dtype.F32, 4),
    "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight": (
        Dtype.F32,
        4,
        4,
    ),
    "first_stage_model.decoder.conv_in.weight": (Dtype.F32, 4, 4, 3, 3),
}


@pytest.mark.parametrize("architecture", ["sd1", "sd2"])
@pytest.mark.parametrize(("preset", "n_cast"), [("fp8", 2), ("fp8-scaled", 1)])
def test_text_encoder_and_vae_of_older_architectures_are_spared_too(
    checkpoint, architecture, preset, n_cast
):
    tensors = checkpoint(SD1)

    found = assign(find_preset(preset), tensors, architecture=architecture)

    cast = [name for name, each in found.items() if each.dtype is Dtype.F8_E4M3]
    assert {component_of(name) for name in cast} == {Component.UNET}
    assert len(cast) == n_cast
    assert {found[name].dtype for name in found.keys() - set(cast)} == {Dtype.F16}


OTHER_MODEL = {
    "layers.0.attention.query.weight": (Dtype.F32, 8, 8),
    "layers.0.attention.query.bias": (Dtype.F32, 8),
    "layers.0.LayerNorm.weight": (Dtype.BF16, 8),
    "embeddings.word_embeddings.weight": (Dtype.F32, 30, 8),
    "stem.weight": (Dtype.F16, 8, 3, 3, 3),
    "video.weight": (Dtype.F16, 8, 3, 3, 3, 3),
    "first_stage_model.decoder.conv_in.weight": (Dtype.F16, 4, 4, 3, 3),
    "cond_stage_model.fc.weight": (Dtype.F16, 4, 4),
    "ids": (Dtype.I64, 8),
}


@pytest.mark.parametrize(
    ("preset", "scaled", "cast"),
    [
        ("fp8", False, {"layers.0.attention.query.weight", "stem.weight"}),
        ("fp8-scaled", True, {"layers.0.attention.query.weight"}),
    ],
)
def test_unknown_architecture_casts_surely_weights_and_keeps_the_rest(
    checkpoint, preset, scaled, cast
):
    tensors = checkpoint(OTHER_MODEL)

    found = assign(find_preset(preset), tensors, architecture="unknown")

    assert {name for name, each in found.items() if each.dtype.is_fp8} == cast
    assert {name for name, each in found.items() if each.scaled} == (
        cast if scaled else set()
    )
    assert all(found[name].dtype is tensors[name].dtype for name in found.keys() - cast)


@pytest.mark.parametrize(
    ("name", "hint"), [("fp61", "did you mean fp16?"), ("FP8", "fp8"), ("xyzzy", "")]
)
def test_unknown_preset_is_refused_with_the_list_and_a_guess(name, hint):
    with pytest.raises(UsageError) as caught:
        find_preset(name)

    assert (caught.value.code, caught.value.exit_code) == ("unknown-preset", 2)
    assert "fp32, fp16, bf16, fp8" in str(caught.value)
    assert hint in caught.value.hint
