"""Names of diffusers folders and of single files, from one to the other and back."""

from pathlib import Path

import pytest

from release.architecture.diffusers.single_file import (
    folder_names,
    prediction_markers,
    single_file_assemblies,
    single_file_name,
)
from release.architecture.sdxl import sdxl_tensors
from release.errors import TensorMismatchError
from release.formats.assembled import Assembly
from release.formats.tensor import TensorEntry
from release.numeric.dtype import Dtype

PATH = Path("pipeline")
SDXL = {entry.name: entry.shape for entry in sdxl_tensors()}
CLIP_L = "conditioner.embedders.0.transformer.text_model."
CLIP_G = "conditioner.embedders.1.model."
POSITION_IDS = f"{CLIP_L}embeddings.position_ids"
UNET = "model.diffusion_model."
VAE = "first_stage_model."


def folder_shapes() -> dict[str, tuple[int, ...]]:
    """Return the folder of SDXL, by its single file's true shapes."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in SDXL.items():
        parts = folder_names(name, "sdxl")
        if len(parts) == 3:
            shapes |= dict.fromkeys(parts, (shape[0] // 3, *shape[1:]))
        elif ".mid.attn_1." in name and len(shape) == 4:
            shapes[parts[0]] = shape[:2]
        elif parts:
            shapes[parts[0]] = shape
    return shapes


def entries(shapes: dict[str, tuple[int, ...]]) -> dict[str, TensorEntry]:
    return {
        name: TensorEntry(name, Dtype.F16, shape, 0, 0)
        for name, shape in shapes.items()
    }


def assemblies(
    shapes: dict[str, tuple[int, ...]],
) -> tuple[str, dict[str, Assembly]]:
    return single_file_assemblies(entries(shapes), path=PATH)


def refusal(shapes: dict[str, tuple[int, ...]]) -> TensorMismatchError:
    with pytest.raises(TensorMismatchError) as caught:
        assemblies(shapes)
    assert caught.value.path == PATH
    assert caught.value.hint
    return caught.value


def test_every_tensor_of_sdxl_but_one_has_names_in_a_folder_and_back() -> None:
    without = [name for name in SDXL if not folder_names(name, "sdxl")]
    there_and_back = {
        name: {single_file_name(part, "sdxl") for part in folder_names(name, "sdxl")}
        for name in SDXL
        if name not in without
    }

    assert without == [f"{CLIP_G}logit_scale"]
    assert there_and_back == {name: {name} for name in there_and_back}


def test_no_two_tensors_of_sdxl_share_a_name_in_the_folder() -> None:
    parts = [part for name in SDXL for part in folder_names(name, "sdxl")]

    # 64 packed tensors of 32 layers are three each; one has no counterpart.
    assert len(parts) == len(set(parts)) == 2515 - 1 + 2 * 64
    assert {part.partition("/")[0] for part in parts} == {
        "unet",
        "vae",
        "text_encoder",
        "text_encoder_2",
    }


def test_folder_gives_the_names_and_shapes_of_the_single_file() -> None:
    architecture, found = assemblies(folder_shapes())

    assert architecture == "sdxl"
    expected = {n: s for n, s in SDXL.items() if not n.endswith("logit_scale")}
    assert {name: each.shape for name, each in found.items()} == expected
    transposed = [name for name, each in found.items() if each.transposed]
    assert transposed == [f"{CLIP_G}text_projection"]


@pytest.mark.parametrize(
    ("architecture", "folder", "single"),
    [
        ("sdxl", "unet/conv_in.weight", f"{UNET}input_blocks.0.0.weight"),
        ("sdxl", "unet/time_embedding.linear_2.bias", f"{UNET}time_embed.2.bias"),
        ("sdxl", "unet/add_embedding.linear_1.bias", f"{UNET}label_emb.0.0.bias"),
        (
            "sdxl",
            "unet/down_blocks.1.resnets.0.conv_shortcut.weight",
            f"{UNET}input_blocks.4.0.skip_connection.weight",
        ),
        (
            "sdxl",
            "unet/down_blocks.2.attentions.1.transformer_blocks.9.ff.net.0.proj.bias",
            f"{UNET}input_blocks.8.1.transformer_blocks.9.ff.net.0.proj.bias",
        ),
        (
            "sdxl",
            "unet/down_blocks.1.downsamplers.0.conv.weight",
            f"{UNET}input_blocks.6.0.op.weight",
        ),
        (
            "sdxl",
            "unet/up_blocks.1.upsamplers.0.conv.bias",
            f"{UNET}output_blocks.5.2.conv.bias",
        ),
        (
            "sd1",
            "unet/up_blocks.0.upsamplers.0.conv.weight",
            f"{UNET}output_blocks.2.1.conv.weight",
        ),
        (
            "sd1",
            "unet/up_blocks.2.upsamplers.0.conv.weight",
            f"{UNET}output_blocks.8.2.conv.weight",
        ),
        (
            "sd1",
            "unet/up_blocks.3.attentions.2.transformer_blocks.0.attn2.to_v.weight",
            f"{UNET}output_blocks.11.1.transformer_blocks.0.attn2.to_v.weight",
        ),
        (
            "sd2",
            "unet/mid_block.resnets.1.time_emb_proj.weight",
            f"{UNET}middle_block.2.emb_layers.1.weight",
        ),
        (
            "sd1",
            "vae/decoder.up_blocks.0.resnets.2.conv2.weight",
            f"{VAE}decoder.up.3.block.2.conv2.weight",
        ),
        (
            "sd1",
            "vae/decoder.up_blocks.2.resnets.0.conv_shortcut.weight",
            f"{VAE}decoder.up.1.block.0.nin_shortcut.weight",
        ),
        (
            "sdxl",
            "vae/encoder.mid_block.attentions.0.group_norm.weight",
            f"{VAE}encoder.mid.attn_1.norm.weight",
        ),
        (
            "sd1",
            "text_encoder/text_model.encoder.layers.11.mlp.fc1.weight",
            "cond_stage_model.transformer.text_model.encoder.layers.11.mlp.fc1.weight",
        ),
        (
            "sd2",
            "text_encoder/text_model.encoder.layers.22.self_attn.k_proj.bias",
            "cond_stage_model.model.transformer.resblocks.22.attn.in_proj_bias",
        ),
        (
            "sd2",
            "text_encoder/text_model.embeddings.position_embedding.weight",
            "cond_stage_model.model.positional_embedding",
        ),
    ],
)
def test_known_pairs_of_names(architecture: str, folder: str, single: str) -> None:
    assert single_file_name(folder, architecture) == single
    assert folder in folder_names(single, architecture)


@pytest.mark.parametrize(
    ("old", "modern"),
    [
        ("query.weight", "to_q.weight"),
        ("key.bias", "to_k.bias"),
        ("value.weight", "to_v.weight"),
        ("proj_attn.bias", "to_out.0.bias"),
    ],
)
def test_names_of_older_folders_are_known(old: str, modern: str) -> None:
    attention = "vae/decoder.mid_block.attentions.0."

    assert single_file_name(f"{attention}{old}", "sd1") == single_file_name(
        f"{attention}{modern}", "sd1"
    )


@pytest.mark.parametrize("component", ["text_encoder", "text_encoder_2"])
@pytest.mark.parametrize(
    "name", ["embeddings.token_embedding.weight", "encoder.layers.3.layer_norm1.bias"]
)
def test_text_encoders_without_their_wrapper_are_known(
    component: str, name: str
) -> None:
    assert single_file_name(f"{component}/{name}", "sdxl") == single_file_name(
        f"{component}/text_model.{name}", "sdxl"
    )


def test_packed_attention_is_query_key_and_value_in_this_order() -> None:
    _, found = assemblies(dict(reversed(folder_shapes().items())))

    packed = found[f"{CLIP_G}transformer.resblocks.7.attn.in_proj_weight"]
    layer = "text_encoder_2/text_model.encoder.layers.7.self_attn."
    assert packed == Assembly(
        (f"{layer}q_proj.weight", f"{layer}k_proj.weight", f"{layer}v_proj.weight"),
        (3840, 1280),
    )


def test_old_vae_attention_that_is_a_convolution_already_keeps_its_shape() -> None:
    name = "vae/decoder.mid_block.attentions.0."
    shapes = folder_shapes()
    del shapes[f"{name}to_q.weight"]

    _, found = assemblies(shapes | {f"{name}query.weight": (512, 512, 1, 1)})

    assert found[f"{VAE}decoder.mid.attn_1.q.weight"] == Assembly(
        (f"{name}query.weight",), (512, 512, 1, 1)
    )


@pytest.mark.parametrize("component", ["text_encoder", "text_encoder_2"])
def test_position_ids_are_kept_for_clip_l_and_implied_by_clip_g(component: str) -> None:
    name = f"{component}/text_model.embeddings.position_ids"
    _, found = assemblies(folder_shapes() | {name: (1, 77)})

    kept = [single for single in found if single.endswith("position_ids")]
    assert kept == [POSITION_IDS]
    assert single_file_name(name, "sdxl").endswith(".position_ids")


def test_position_ids_may_be_missing() -> None:
    shapes = folder_shapes()
    del shapes["text_encoder/text_model.embeddings.position_ids"]

    assert POSITION_IDS not in assemblies(shapes)[1]


@pytest.mark.parametrize(
    "name",
    [
        "unet/down_blocks.3.resnets.0.conv1.weight",
        "unet/mid_block.attentions.0.transformer_blocks.10.norm1.weight",
        "unet/mid_block.attentions.0.transformer_blocks.01.norm1.weight",
        "unet/down_blocks.1.attentions.0.norm.lora.weight",
        "unet/conv_in.weight ",
        "unet/",
        "vae/encoder.mid_block.attentions.0.to_x.weight",
        "text_encoder/text_projection.weight",
        "text_encoder/text_model.encoder.layers.12.layer_norm1.bias",
        "text_encoder_2/logit_scale",
        "safety_checker/x",
        "conv_in.weight",
    ],
)
def test_name_that_no_single_file_has_is_an_error_and_never_dropped(name: str) -> None:
    error = refusal(folder_shapes() | {name: (1,)})

    assert error.code == "unmapped-tensors"
    assert name.strip() in str(error)
    with pytest.raises(ValueError, match="not known in sdxl"):
        single_file_name(name, "sdxl")


def test_one_tensor_under_two_spellings_is_refused() -> None:
    old = "vae/decoder.mid_block.attentions.0.query.weight"

    error = refusal(folder_shapes() | {old: (512, 512)})

    assert error.code == "two-spellings"
    assert old in str(error)


@pytest.mark.parametrize("matrix", ["q_proj", "k_proj", "v_proj"])
def test_packed_tensor_without_one_part_is_refused(matrix: str) -> None:
    shapes = folder_shapes()
    part = f"text_encoder_2/text_model.encoder.layers.0.self_attn.{matrix}.weight"
    del shapes[part]

    error = refusal(shapes)

    assert error.code == "missing-tensors"
    assert part in str(error)


@pytest.mark.parametrize(
    ("shapes", "architecture"),
    [
        ({"unet/down_blocks.0.attentions.0.proj_in.weight": (4, 4, 1, 1)}, "sd1"),
        ({"unet/down_blocks.0.attentions.0.proj_in.weight": (4, 4)}, "sd2"),
        ({"unet/add_embedding.linear_1.weight": (4, 4)}, "sdxl"),
    ],
)
def test_architecture_is_told_whatever_the_widths(
    shapes: dict[str, tuple[int, ...]], architecture: str
) -> None:
    assert assemblies(shapes)[0] == architecture


@pytest.mark.parametrize(
    "shapes", [{}, {"unet/down_blocks.0.attentions.0.proj_in.weight": (4,)}]
)
def test_unknown_architecture_is_refused(shapes: dict[str, tuple[int, ...]]) -> None:
    assert refusal(shapes).code == "unknown-architecture"


def test_shapes_that_cannot_be_joined_do_not_break_the_names() -> None:
    shapes = dict.fromkeys(folder_shapes(), ())

    _, found = assemblies(shapes)

    assert found[f"{CLIP_G}text_projection"].shape == ()


@pytest.mark.parametrize(
    ("architecture", "prediction", "zero", "names"),
    [
        ("sdxl", "v_prediction", True, ["v_pred", "ztsnr"]),
        ("sdxl", "v_prediction", False, ["v_pred"]),
        ("sdxl", "epsilon", True, []),
        ("sdxl", "", False, []),
        ("sd2", "v_prediction", True, []),
    ],
)
def test_markers_say_what_the_model_predicts(
    architecture: str, prediction: str, zero: bool, names: list[str]
) -> None:
    markers = prediction_markers(
        architecture, prediction_type=prediction, zero_terminal_snr=zero
    )

    assert markers == dict.fromkeys(names, Assembly((), (0,)))
