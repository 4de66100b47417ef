"""Scaled fp8 in every layout, read as the values that programs compute with."""

import json

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from release.engine.kernel import CHUNK_ELEMENTS

SAMPLES = (
    "plain-fp8",
    "comfy-legacy",
    "comfy-current",
    "comfy-header",
    "rowwise",
    "blockwise",
    "kohya",
    "compressed-tensors",
    "deepseek",
)


def assert_values(path, sample, dtype):
    """Compare every fp8 weight with numpy's product, bit for bit; no scale is left."""
    found = safetensors.numpy.load_file(path)
    for name, exact in sample.expected.items():
        assert found[name].dtype == dtype
        assert found[name].tobytes() == exact.astype(dtype).tobytes(), name
    assert found.keys() == sample.tensors.keys() - sample.auxiliary


@pytest.mark.parametrize("name", SAMPLES)
def test_values_are_numpys_product_bit_for_bit(convert, quantised, workplace, name):
    sample = quantised.SAMPLES[name]()
    path = sample.write(workplace)
    options = ["--assume-scaled"] if sample.assumed else []

    done = convert(path, "--to=fp32", "--to=fp16", *options)

    assert_values(done.path("fp32"), sample, np.float32)
    assert_values(done.path("fp16"), sample, np.float16)
    assert done.document["layout"] == sample.layout


LARGE = {  # weight, scale, entry or config, block
    "one scale": ((700, 801), (), {"format": "float8_e4m3fn"}, (1, 1)),
    "rows": ((700, 801), (700, 1), {"format": "float8_e4m3fn_rowwise"}, (1, 1)),
    "rows of a convolution": (
        (120, 601, 3, 3),
        (120,),
        {"format": "float8_e4m3fn_rowwise"},
        (1, 1),
    ),
    "blocks": (
        (704, 832),
        (11, 13),
        {"format": "float8_e4m3fn_blockwise", "group_size": 64},
        (64, 64),
    ),
}


@pytest.mark.parametrize("case", LARGE)
@pytest.mark.parametrize("threads", [1, 3])
def test_chunks_end_within_rows_and_blocks_and_nobody_sees_it(
    convert, quantised, workplace, case, threads
):
    shape, scale_shape, entry, block = LARGE[case]
    weight = quantised.fp8(31, *shape)
    scale = quantised.scales(31, *scale_shape)
    tensors = {
        "a.weight": weight,
        "a.weight_scale": scale,
        "a.comfy_quant": quantised.text(entry),
    }
    sample = quantised.Sample(
        "large",
        tensors,
        {"a.weight": quantised.product(weight, scale, block)},
        auxiliary=set(tensors) - {"a.weight"},
    )
    path = sample.write(workplace)

    done = convert(path, "--to=fp32", "--to=fp16", f"--threads={threads}")

    row = int(np.prod(shape[1:]))
    assert np.prod(shape) > 2 * CHUNK_ELEMENTS
    assert CHUNK_ELEMENTS % row
    assert_values(done.path("fp32"), sample, np.float32)
    assert_values(done.path("fp16"), sample, np.float16)


def test_large_blocks_with_remainders_come_from_config_json(
    convert, quantised, workplace
):
    weight, scale = quantised.fp8(33, 700, 1001), quantised.scales(33, 6, 8)
    sample = quantised.Sample(
        "deepseek",
        {"a.weight": weight, "a.weight_scale_inv": scale},
        {"a.weight": quantised.product(weight, scale, (128, 128))},
        auxiliary={"a.weight_scale_inv"},
        config=quantised.deepseek().config,
    )

    done = convert(sample.write(workplace), "--to=fp32", "--to=fp16")

    assert_values(done.path("fp32"), sample, np.float32)
    assert_values(done.path("fp16"), sample, np.float16)


def test_groups_within_rows_are_read_across_chunks(convert, quantised, workplace):
    weight = quantised.fp8(35, 700, 832)
    scale = quantised.scales(35, 700, 13, 1, code="BF16")
    sample = quantised.Sample(
        "kohya-scaled",
        {"a.weight": weight, "a.scale_weight": scale},
        {"a.weight": quantised.product(weight, scale)},
        auxiliary={"a.scale_weight"},
    )

    done = convert(sample.write(workplace), "--to=fp32", "--assume-scaled")

    assert_values(done.path("fp32"), sample, np.float32)


def test_scaled_to_plain_fp8_rounds_the_product_and_drops_the_scale(
    convert, quantised, workplace
):
    sample = quantised.comfy_legacy()

    done = convert(sample.write(workplace), "--to=fp8")

    found = safetensors.torch.load_file(done.path("fp8"))
    for name, exact in sample.expected.items():
        rounded = torch.from_numpy(exact).clamp(-448, 448).to(torch.float8_e4m3fn)
        assert torch.equal(found[name].view(torch.uint8), rounded.view(torch.uint8))
    assert found.keys() == sample.tensors.keys() - sample.auxiliary
    assert "already fp8" not in done.said


@pytest.mark.parametrize("name", SAMPLES)
def test_any_layout_becomes_comfyuis_current_one(convert, quantised, workplace, name):
    sample = quantised.SAMPLES[name]()
    path = sample.write(workplace)
    options = ["--assume-scaled"] if sample.assumed else []

    done = convert(path, "--to=fp8-scaled", *options)

    found = safetensors.torch.load_file(done.path("fp8-scaled"))
    for weight, exact in sample.expected.items():
        if exact.ndim != 2 or f"{weight}_scale" not in found:
            continue
        greatest = float(np.abs(exact).max())
        scale = np.float32(greatest / 448)
        stored = torch.from_numpy(exact / scale).clamp(-448, 448)
        expected = stored.to(torch.float8_e4m3fn)
        assert found[f"{weight}_scale"].dtype == torch.float32
        assert found[f"{weight}_scale"].shape == ()
        assert found[f"{weight}_scale"].item() == scale
        assert torch.equal(found[weight].view(torch.uint8), expected.view(torch.uint8))
    scaled = {key.removesuffix("_scale") for key in found if key.endswith("_scale")}
    assert scaled >= {
        weight for weight, exact in sample.expected.items() if exact.ndim == 2
    }
    with safetensors.safe_open(done.path("fp8-scaled"), "pt") as file:
        said = json.loads(file.metadata()["_quantization_metadata"])["layers"]
    assert {f"{layer}.weight" for layer in said} == scaled


def test_current_layout_is_the_same_after_a_second_time(convert, save, sd1):
    first = convert(save(sd1), "--to=fp8-scaled", "--out=1").path("fp8-scaled")
    wide = convert(first, "--to=fp16", "--out=2").path("fp16")
    again = convert(wide, "--to=fp8-scaled", "--out=3").path("fp8-scaled")

    name = "model.diffusion_model.input_blocks.1.1.proj_in.weight"
    before = safetensors.torch.load_file(first)[name].float()
    after = safetensors.torch.load_file(again)[name].float()
    assert ((before - after).norm() / before.norm()).item() < 10 ** (-31 / 20)


def test_legacy_names_and_marker_are_gone_when_nothing_is_cast_back(
    convert, quantised, workplace
):
    sample = quantised.comfy_legacy()

    done = convert(sample.write(workplace), "--to=bf16", "--to=fp8-e5m2")

    for name in ("bf16", "fp8-e5m2"):
        found = safetensors.torch.load_file(done.path(name))
        assert not any("scale" in key for key in found)
