"""What is legal in a layout and still said."""

import pytest


def words(layout):
    return [warning.partition(":")[0] for warning in layout.warnings]


@pytest.mark.parametrize(
    "name", ["plain", "plain-fp8", "comfy-legacy", "comfy-header", "deepseek"]
)
def test_ordinary_files_have_no_warnings(name, quantised, detect):
    assert detect(quantised.SAMPLES[name]()).warnings == ()


def test_assumed_scales_are_warned_of(quantised, detect):
    layout = detect(quantised.kohya())

    assert words(layout) == ["assumed-scales", "narrow-scale"]
    assert "a.scale_weight, b.scale_weight, c.scale_weight" in layout.warnings[0]


def test_fp8_without_scale_beside_scaled_weights_is_warned_of(quantised, detect):
    sample = quantised.comfy_legacy().with_tensors(vae__weight=quantised.fp8(30, 4, 4))

    layout = detect(sample)

    assert words(layout) == ["unscaled-fp8"]
    assert "vae.weight" in layout.warnings[0]
    assert "vae.weight" not in layout.scales


def test_scaled_convolution_is_warned_of(quantised, detect):
    sample = quantised.comfy_header().with_tensors(
        model__diffusion_model__a__weight=quantised.fp8(31, 5, 4, 3, 3)
    )

    layout = detect(sample)

    assert words(layout) == ["scaled-convolution"]
    scale = layout.scales["model.diffusion_model.a.weight"]
    assert (scale.rows, scale.columns) == (5, 36)


def test_u8_and_narrow_scales_of_comfyui_are_warned_of(quantised, detect):
    sample = quantised.comfy_current().with_tensors(
        model__diffusion_model__a__weight_scale=quantised.scales(33, code="BF16")
    )

    assert words(detect(sample)) == ["narrow-scale", "fp8-as-u8"]


@pytest.mark.parametrize(
    ("code", "shape", "warnings"),
    [
        ("F32", (0,), []),
        ("F32", (2,), []),
        ("F8_E4M3", (0,), []),
        ("F8_E5M2", (2,), ["marker-dtype"]),
        ("BF16", (2,), ["marker-dtype"]),
    ],
)
def test_marker_of_any_dtype_leaves_e4m3_weights_alone(
    code, shape, warnings, quantised, detect
):
    size = {"F32": 4, "BF16": 2}.get(code, 1)
    marker = quantised.Raw(code, shape, bytes(size * shape[0]))
    sample = quantised.comfy_legacy().with_tensors(
        model__diffusion_model__scaled_fp8=marker
    )

    assert words(detect(sample)) == warnings


def test_foreign_shape_under_a_marker_is_read_only_where_assumed(quantised, detect):
    sample = quantised.comfy_legacy().with_tensors(
        model__diffusion_model__a__scale_weight=quantised.scales(35, 12)
    )

    layout = detect(sample, assume_scaled=True)

    assert words(layout) == ["assumed-shapes"]
    scale = layout.scales["model.diffusion_model.a.weight"]
    assert (scale.rows, scale.columns) == (1, 20)


def test_header_overrides_entries_that_disagree(quantised, detect):
    name = "model.diffusion_model.a"
    sample = quantised.comfy_header().with_tensors(
        model__diffusion_model__a__comfy_quant=quantised.text({"format": "float8_e5m2"})
    )

    layout = detect(sample)

    assert words(layout) == ["quantization-disagreement"]
    assert name in layout.warnings[0]
    assert layout.scales.keys() == {f"{name}.weight"}


def test_keys_without_meaning_for_fp8_are_warned_of(quantised, detect):
    sample = quantised.rowwise().with_tensors(
        c__comfy_quant=quantised.text({"format": "float8_e4m3fn", "convrot": True})
    )

    layout = detect(sample)

    assert words(layout) == ["quantization-keys"]
    assert "convrot" in layout.warnings[0]
