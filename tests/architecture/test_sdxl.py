import math
from pathlib import Path

import pytest
import xxhash

from release.architecture.sdxl import (
    DIVISORS,
    ArchitectureTensor,
    Component,
    check_sdxl,
    component_of,
    copied_reason,
    detect,
    is_copied,
    narrow_shape,
    sdxl_tensors,
)
from release.errors import ShapeError, TensorMismatchError, UsageError
from release.numeric.dtype import Dtype

UNET = "model.diffusion_model."
PATH = Path("some.safetensors")
SHAPES = {entry.name: entry.shape for entry in sdxl_tensors()}
BY_NAME = {entry.name: entry for entry in sdxl_tensors()}
SD1_CONTEXT = f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"


def narrowed(divisor: int) -> dict[str, tuple[int, ...]]:
    return {entry.name: narrow_shape(entry, divisor) for entry in sdxl_tensors()}


def parameters(shapes: dict[str, tuple[int, ...]]) -> int:
    return sum(math.prod(shape) for shape in shapes.values())


def test_table_is_that_of_sdxl_to_the_last_name_shape_and_flag() -> None:
    # Digest of "name shape optional" lines made from another tool's model config.
    text = "\n".join(
        f"{entry.name} {'x'.join(map(str, entry.shape))} {entry.optional}"
        for entry in sdxl_tensors()
    )
    assert (
        xxhash.xxh3_128_hexdigest(text.encode()) == "b3bb55b5923e8d752417d19bd511d968"
    )


def test_table_is_sorted_by_name() -> None:
    assert list(SHAPES) == sorted(SHAPES)


@pytest.mark.parametrize(
    ("component", "n_tensors", "n_parameters"),
    [
        (Component.UNET, 1680, 2_567_463_684),
        (Component.CLIP_L, 197, 123_060_557),
        (Component.CLIP_G, 390, 694_659_841),
        (Component.VAE, 248, 83_653_863),
        (Component.OTHER, 0, 0),
    ],
)
def test_components_have_the_known_sizes(
    component: Component, n_tensors: int, n_parameters: int
) -> None:
    part = {n: s for n, s in SHAPES.items() if component_of(n) is component}
    assert (len(part), parameters(part)) == (n_tensors, n_parameters)


def test_thirty_five_tensors_are_optional_and_one_is_integer() -> None:
    entries = sdxl_tensors()
    assert sum(entry.optional for entry in entries) == 35
    assert [entry.dtype for entry in entries].count(Dtype.I64) == 1


@pytest.mark.parametrize(
    ("name", "component"),
    [
        ("cond_stage_model.transformer.text_model.final_layer_norm.bias", "clip_l"),
        ("cond_stage_model.model.ln_final.bias", "clip_l"),
        ("model_ema.decay", "other"),
        ("alphas_cumprod", "other"),
    ],
)
def test_other_layouts_have_components_too(name: str, component: str) -> None:
    assert component_of(name).value == component


@pytest.mark.parametrize(
    ("name", "dtype", "reason"),
    [
        ("conditioner.embedders.0.x.embeddings.position_ids", Dtype.F16, "indices"),
        ("cond_stage_model.transformer.position_ids", Dtype.I64, "indices"),
        ("conditioner.embedders.1.model.logit_scale", Dtype.F32, "logit_scale"),
        ("alphas_cumprod", Dtype.F32, "schedule"),
        ("posterior_mean_coef2", Dtype.F32, "schedule"),
        ("logvar", Dtype.F32, "schedule"),
        ("denoiser.sigmas", Dtype.F32, "schedule"),
        ("v_pred", Dtype.F32, "marker"),
        ("ztsnr", Dtype.F32, "marker"),
        ("edm_vpred.sigma_max", Dtype.F32, "marker"),
        ("edm_mean", Dtype.F32, "marker"),
        (f"{UNET}counter", Dtype.I32, "I32"),
        (f"{UNET}mask", Dtype.BOOL, "BOOL"),
        (f"{UNET}scale", Dtype.F8_E8M0, "F8_E8M0"),
    ],
)
def test_copied_tensors_say_why(name: str, dtype: Dtype, reason: str) -> None:
    assert reason in copied_reason(name, dtype)
    assert is_copied(name, dtype)


def test_only_two_network_tensors_are_copied() -> None:
    copied = [
        entry.name for entry in sdxl_tensors() if is_copied(entry.name, Dtype.F16)
    ]
    assert [name.rpartition(".")[2] for name in copied] == [
        "position_ids",
        "logit_scale",
    ]


def test_network_tensor_has_no_reason_to_be_copied() -> None:
    assert copied_reason(f"{UNET}out.2.weight", Dtype.BF16) == ""


@pytest.mark.parametrize("divisor", DIVISORS)
def test_stand_ins_of_every_width_are_sdxl(divisor: int) -> None:
    shapes = narrowed(divisor)
    assert detect(shapes) == "sdxl"
    check_sdxl(PATH, shapes)


@pytest.mark.parametrize(
    ("tensors", "architecture"),
    [
        ({"cond_stage_model.transformer.text_model.x.weight": (8,)}, "sd1"),
        ({"cond_stage_model.transformer.encoder.x.weight": (8,)}, "sd1"),
        ({"cond_stage_model.model.ln_final.weight": (8,)}, "sd2"),
        ({SD1_CONTEXT: (320, 768)}, "sd1"),
        ({SD1_CONTEXT: (320, 1024)}, "sd2"),
        ({SD1_CONTEXT: (20, 48)}, "sd1"),
        ({SD1_CONTEXT: (20, 64)}, "sd2"),
        ({SD1_CONTEXT: (320, 2048)}, "unknown"),
        ({SD1_CONTEXT: (320,)}, "unknown"),
        ({"decoder.conv_in.weight": (512, 4, 3, 3)}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_other_architectures_are_told_apart(
    tensors: dict[str, tuple[int, ...]], architecture: str
) -> None:
    assert detect(tensors) == architecture


def test_unet_alone_is_recognised_as_sdxl() -> None:
    assert detect({n: s for n, s in SHAPES.items() if n.startswith(UNET)}) == "sdxl"


def test_sd1_is_refused_by_name() -> None:
    with pytest.raises(TensorMismatchError, match=r"SD1\.x.*expected SDXL") as caught:
        check_sdxl(PATH, {"cond_stage_model.transformer.text_model.x": (1,)})
    assert caught.value.code == "not-sdxl"


def test_missing_tensors_are_counted_and_the_first_five_named() -> None:
    gone = [name for name in SHAPES if name.startswith(f"{UNET}output_blocks.5.")]
    kept = {name: shape for name, shape in SHAPES.items() if name not in gone}
    with pytest.raises(TensorMismatchError) as caught:
        check_sdxl(PATH, kept)
    message = str(caught.value)
    assert caught.value.code == "missing-tensors"
    assert "lacks 60 tensors" in message
    assert all(name in message for name in gone[:5])
    assert gone[5] not in message
    assert "and 55 more" in message


def test_missing_parts_are_named_in_the_hint() -> None:
    with pytest.raises(TensorMismatchError) as caught:
        check_sdxl(PATH, {n: s for n, s in SHAPES.items() if n.startswith(UNET)})
    assert "clip_l, clip_g, vae" in caught.value.hint


def test_optional_tensors_may_be_missing() -> None:
    check_sdxl(PATH, {e.name: e.shape for e in sdxl_tensors() if not e.optional})


def test_other_rank_is_a_shape_error() -> None:
    name = f"{UNET}input_blocks.4.1.proj_in.weight"
    with pytest.raises(ShapeError, match=f"{name} has 4 dimensions") as caught:
        check_sdxl(PATH, {**SHAPES, name: (640, 640, 1, 1)})
    assert caught.value.code == "rank"


def test_divisor_one_is_the_true_model() -> None:
    shapes = narrowed(1)
    assert shapes == SHAPES
    assert parameters(shapes) == 3_468_837_945


def test_divisor_two_has_a_quarter_of_the_parameters() -> None:
    assert parameters(narrowed(2)) == pytest.approx(867_000_000, rel=0.01)


@pytest.mark.parametrize("divisor", [0, 3, 128, -1])
def test_divisor_that_does_not_fit_is_refused(divisor: int) -> None:
    with pytest.raises(UsageError, match="expected one of 1, 2, 4") as caught:
        narrow_shape(BY_NAME[f"{UNET}out.2.weight"], divisor)
    assert caught.value.code == "narrow-divisor"


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        (f"{UNET}input_blocks.0.0.weight", (20, 4, 3, 3)),
        (f"{UNET}out.2.weight", (4, 20, 3, 3)),
        (f"{UNET}label_emb.0.0.weight", (80, 176)),
        ("first_stage_model.decoder.conv_out.weight", (3, 8, 3, 3)),
        ("first_stage_model.quant_conv.weight", (8, 8, 1, 1)),
        ("conditioner.embedders.1.model.positional_embedding", (77, 80)),
        ("conditioner.embedders.1.model.token_embedding.weight", (3088, 80)),
        ("conditioner.embedders.1.model.logit_scale", ()),
        (
            "conditioner.embedders.0.transformer.text_model.embeddings.position_ids",
            (1, 77),
        ),
    ],
)
def test_latent_kernel_and_position_dimensions_stay(
    name: str, shape: tuple[int, ...]
) -> None:
    assert narrow_shape(BY_NAME[name], 16) == shape


def test_schedule_buffer_keeps_its_thousand_steps() -> None:
    buffer = ArchitectureTensor("betas", Dtype.F32, (1000,), optional=True)
    assert narrow_shape(buffer, 8) == (1000,)


def test_narrow_biases_fit_their_weights() -> None:
    shapes = narrowed(16)
    pairs = [
        (shapes[name], shapes[name.removesuffix("bias") + "weight"])
        for name in shapes
        if name.endswith("bias")
    ]
    assert len(pairs) == 1044
    assert all(bias == (weight[0],) for bias, weight in pairs)


def test_narrow_packed_attention_is_three_widths() -> None:
    shapes = narrowed(16)
    packed = [
        shape for name, shape in shapes.items() if name.endswith("in_proj_weight")
    ]
    assert packed == [(240, 80)] * 32


def test_narrow_feed_forward_halves_its_gated_width() -> None:
    shapes = narrowed(16)
    for name, (gated, width) in shapes.items() & {
        (name, shape)
        for name, shape in shapes.items()
        if name.endswith("net.0.proj.weight")
    }:
        down = shapes[name.replace("net.0.proj", "net.2")]
        assert down == (width, gated // 2)


def test_narrow_skip_connections_add_up() -> None:
    shapes = narrowed(16)
    # Channels that enter output block N: its predecessor's output and the skip of
    # input block 8 - N.
    outputs = [shapes[f"{UNET}input_blocks.0.0.weight"][0]]
    for index in range(1, 9):
        down = f"{UNET}input_blocks.{index}.0.op.weight"
        block = f"{UNET}input_blocks.{index}.0.out_layers.3.weight"
        outputs.append(shapes.get(down, shapes.get(block, ()))[0])
    width = shapes[f"{UNET}middle_block.2.out_layers.3.weight"][0]
    for index in range(9):
        entering = shapes[f"{UNET}output_blocks.{index}.0.in_layers.2.weight"]
        assert entering[1] == width + outputs[8 - index]
        width = entering[0]
    assert width == shapes[f"{UNET}out.0.weight"][0]
