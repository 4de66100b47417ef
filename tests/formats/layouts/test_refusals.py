"""Scales that are missing, wrong or ambiguous: one defect each, one code each."""

import pytest

from release.errors import (
    CheckpointError,
    DtypeError,
    TensorMismatchError,
)
from release.formats.checkpoint import SafetensorsCheckpoint
from release.formats.layouts.detect import detect_layout

A = "model.diffusion_model.a"
A_KEY = A.replace(".", "__")


@pytest.mark.parametrize(
    ("name", "scale", "lacking"),
    [
        ("kohya", "a.scale_weight", "scaled_fp8"),
        ("compressed-tensors", "a.weight_scale", "comfy_quant"),
        ("deepseek", "a.weight_scale_inv", "config.json"),
    ],
)
def test_scales_that_nothing_explains_are_refused(
    name, scale, lacking, quantised, tmp_path
):
    path = quantised.SAMPLES[name]().write(tmp_path)
    with (
        SafetensorsCheckpoint(path) as checkpoint,
        pytest.raises(TensorMismatchError) as caught,
    ):
        detect_layout(checkpoint)

    assert caught.value.code == "orphan-scales"
    assert scale in str(caught.value)
    assert lacking in str(caught.value)
    assert "--assume-scaled" in caught.value.hint


def test_scale_outside_the_markers_prefix_is_refused(quantised, refusal):
    sample = quantised.comfy_legacy().with_tensors(
        text__a__weight=quantised.fp8(40, 4, 4),
        text__a__scale_weight=quantised.scales(40),
    )

    error = refusal(sample)

    assert error.code == "orphan-scales"
    assert "text.a.scale_weight" in str(error)
    assert A not in str(error)


def test_scale_without_an_entry_beside_entries_is_refused(quantised, refusal):
    sample = quantised.rowwise().with_tensors(c__comfy_quant=None)

    error = refusal(sample)

    assert error.code == "orphan-scales"
    assert "c.weight_scale" in str(error)


def test_input_scale_of_an_unscaled_fp8_weight_is_refused(quantised, refusal):
    sample = quantised.plain_fp8().with_tensors(
        **{f"{A_KEY}__input_scale": quantised.scale_of(0.5)}
    )

    error = refusal(sample)

    assert error.code == "orphan-scales"
    assert f"{A}.input_scale" in str(error)


@pytest.mark.parametrize(
    ("name", "gone", "code"),
    [
        ("comfy-current", f"{A}.weight_scale", "missing-scale"),
        ("comfy-current", f"{A}.weight", "missing-weight"),
        ("comfy-header", f"{A}.weight_scale", "missing-scale"),
        ("comfy-header", f"{A}.weight", "missing-weight"),
        ("comfy-legacy", f"{A}.weight", "missing-weight"),
        ("kohya", "a.weight", "missing-weight"),
        ("compressed-tensors", "b.weight", "missing-weight"),
        ("compressed-tensors", "b.weight_scale", "missing-scale"),
        ("deepseek", "a.weight_scale_inv", "missing-scale"),
    ],
)
def test_half_of_a_pair_is_refused(name, gone, code, quantised, refusal):
    sample = quantised.SAMPLES[name]().with_tensors(**{gone.replace(".", "__"): None})

    error = refusal(sample, assume_scaled=True)

    assert isinstance(error, TensorMismatchError)
    assert error.code == code
    assert gone in str(error)


def test_marker_without_scales_is_refused(quantised, refusal):
    sample = quantised.plain_fp8().with_tensors(
        scaled_fp8=quantised.Raw("F8_E4M3", (2,), b"\0\0")
    )

    error = refusal(sample, assume_scaled=True)

    assert error.code == "missing-scale"
    assert "scaled_fp8" in str(error)


@pytest.mark.parametrize("name", ["comfy-header", "comfy-current", "rowwise"])
@pytest.mark.parametrize("old", ["x.scale_weight", "scaled_fp8"])
def test_both_layouts_of_comfyui_in_one_file_are_refused(name, old, quantised, refusal):
    sample = quantised.SAMPLES[name]().with_tensors(
        **{old.replace(".", "__"): quantised.scale_of(1.0)}
    )

    error = refusal(sample, assume_scaled=True)

    assert error.code == "mixed-layouts"
    assert old in str(error)


def test_weight_with_two_scales_is_refused(quantised, refusal):
    sample = quantised.kohya().with_tensors(a__weight_scale=quantised.scales(41))

    error = refusal(sample, assume_scaled=True)

    assert error.code == "two-scales"
    assert "a.weight has two scales, a.scale_weight and a.weight_scale" in str(error)


@pytest.mark.parametrize(
    ("name", "weight"), [("comfy-legacy", A), ("rowwise", "a"), ("kohya", "a")]
)
def test_scale_of_a_weight_that_is_not_fp8_is_refused(name, weight, quantised, refusal):
    sample = quantised.SAMPLES[name]().with_tensors(
        **{f"{weight}__weight".replace(".", "__"): quantised.half(12, 20)}
    )

    error = refusal(sample, assume_scaled=True)

    assert isinstance(error, DtypeError)
    assert error.code == "scaled-dtype"
    assert f"{weight}.weight is F16" in str(error)


def test_scale_in_a_file_without_any_fp8_is_refused(quantised, refusal):
    sample = quantised.plain().with_tensors(
        model__diffusion_model__out__weight_scale=quantised.scales(47)
    )

    assert refusal(sample, assume_scaled=True).code == "scaled-dtype"


def test_u8_is_fp8_only_where_an_entry_says_so(quantised, refusal):
    sample = quantised.comfy_legacy().with_tensors(
        **{f"{A_KEY}__weight": quantised.Raw("U8", (2, 2), bytes(4))}
    )

    assert refusal(sample, assume_scaled=True).code == "scaled-dtype"


def test_weight_of_another_fp8_dtype_than_its_entry_is_refused(quantised, refusal):
    sample = quantised.comfy_header().with_tensors(
        **{f"{A_KEY}__weight": quantised.fp8(42, 12, 20, code="F8_E5M2")}
    )

    error = refusal(sample, assume_scaled=True)

    assert error.code == "fp8-dtype"
    assert f"{A}.weight is F8_E5M2, expected F8_E4M3" in str(error)


def test_legacy_e5m2_is_refused_with_the_reason(quantised, refusal):
    sample = quantised.comfy_legacy().with_tensors(
        **{f"{A_KEY}__weight": quantised.fp8(43, 12, 20, code="F8_E5M2")}
    )

    error = refusal(sample)

    assert error.code == "legacy-e5m2"
    assert f"{A}.weight" in str(error)
    assert "e4m3fn" in str(error)
    assert "--assume-scaled" in error.hint


@pytest.mark.parametrize(
    "config_format", ["pack-quantized", "int-quantized", None, ["float-quantized"]]
)
def test_compressed_tensors_of_another_format_are_refused(
    config_format, quantised, tmp_path
):
    config = {"quant_method": "compressed-tensors", "format": config_format}
    path = quantised.compressed_tensors().write(tmp_path)
    with SafetensorsCheckpoint(path) as checkpoint, pytest.raises(DtypeError) as caught:
        detect_layout(checkpoint, quantization_config=config)

    assert caught.value.code == "quantization-format"


@pytest.mark.parametrize(
    "block",
    [[128], [128, 0], [128, "128"], [128.0, 128.0], "128", [2**40, 128], [8, 8]],
)
def test_block_size_that_is_none_is_refused(block, quantised, tmp_path):
    config = {"quant_method": "fp8", "weight_block_size": block}
    path = quantised.deepseek().write(tmp_path)
    with (
        SafetensorsCheckpoint(path) as checkpoint,
        pytest.raises(CheckpointError) as caught,
    ):
        detect_layout(checkpoint, quantization_config=config)

    assert caught.value.code == "config-json"


def test_config_with_two_sizes_of_blocks_is_refused(quantised, tmp_path):
    group = {"weights": {"block_structure": [64, 64]}}
    config = {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "weight_block_size": [128, 128],
        "config_groups": {"g": group},
    }
    path = quantised.compressed_tensors().write(tmp_path)
    with (
        SafetensorsCheckpoint(path) as checkpoint,
        pytest.raises(CheckpointError) as caught,
    ):
        detect_layout(checkpoint, quantization_config=config)

    assert caught.value.code == "config-json"


def test_zero_point_of_a_weight_in_u8_is_refused(quantised, refusal):
    sample = quantised.comfy_current().with_tensors(
        model__diffusion_model__c__weight_zero_point=quantised.half(1)
    )

    assert refusal(sample).code == "unread-quantization"


@pytest.mark.parametrize("part", ["weight_zero_point", "pre_quant_scale"])
@pytest.mark.parametrize(
    ("name", "module"), [("plain-fp8", A), ("comfy-header", A), ("kohya", "a")]
)
def test_weights_that_need_more_than_a_scale_are_refused(
    part, name, module, quantised, refusal
):
    sample = quantised.SAMPLES[name]().with_tensors(
        **{f"{module}__{part}".replace(".", "__"): quantised.half(12)}
    )

    error = refusal(sample, assume_scaled=True)

    assert error.code == "unread-quantization"
    assert f"{module}.{part}" in str(error)
