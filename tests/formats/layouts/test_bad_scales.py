"""Scale tensors that are no scale of their weight: shapes, dtypes, values."""

import pytest

from release.errors import ShapeError, ValueRangeError
from release.formats.checkpoint import SafetensorsCheckpoint
from release.formats.layouts.detect import detect_layout

A = "model.diffusion_model.a"
A_KEY = A.replace(".", "__")


@pytest.mark.parametrize(
    ("name", "scale", "shape"),
    [
        ("comfy-legacy", f"{A}.scale_weight", (12,)),
        ("comfy-legacy", f"{A}.scale_weight", (20,)),
        ("comfy-legacy", f"{A}.scale_weight", (0,)),
        ("comfy-legacy", f"{A}.scale_weight", (2, 2)),
        ("comfy-header", f"{A}.weight_scale", (12,)),
        ("comfy-header", f"{A}.weight_scale", (1, 20)),
        ("rowwise", "a.weight_scale", (11,)),
        ("rowwise", "a.weight_scale", (13, 1)),
        ("blockwise", "a.weight_scale", (3, 2)),
        ("blockwise", "a.weight_scale", (4, 6)),
        ("blockwise", "c.weight_scale", (2, 2)),
        ("blockwise", "c.weight_scale", (16, 8)),
        ("compressed-tensors", "c.weight_scale", (1, 2)),
        ("compressed-tensors", "c.weight_scale", (2, 2, 1)),
        ("deepseek", "a.weight_scale_inv", (1, 3)),
        ("deepseek", "a.weight_scale_inv", (200, 0, 1)),
        ("compressed-tensors", "c.weight_scale", (130, 3, 1)),
    ],
)
def test_scale_that_does_not_fit_its_weight_is_refused(
    name, scale, shape, quantised, refusal
):
    sample = quantised.SAMPLES[name]().with_tensors(
        **{scale.replace(".", "__"): quantised.scales(44, *shape)}
    )

    error = refusal(sample)

    assert isinstance(error, ShapeError)
    assert error.code == "scale-shape"
    weight = f"{scale.rpartition('.')[0]}.weight"
    assert f"scale {scale} {list(shape)} does not fit weight {weight} [" in str(error)


def test_blocks_within_the_rows_of_a_convolution_are_refused(quantised, refusal):
    sample = quantised.kohya().with_tensors(
        c__weight=quantised.fp8(48, 6, 64, 3),
    )

    error = refusal(sample, assume_scaled=True)

    assert error.code == "scale-shape"
    assert "c.scale_weight [6, 3, 1] does not fit weight c.weight [6, 64, 3]" in str(
        error
    )


def test_shape_that_another_layout_knows_comes_with_the_option_that_reads_it(
    quantised, refusal
):
    legacy = quantised.comfy_legacy()
    known = legacy.with_tensors(**{f"{A_KEY}__scale_weight": quantised.scales(45, 12)})
    unknown = legacy.with_tensors(**{f"{A_KEY}__scale_weight": quantised.scales(45, 5)})

    assert "--assume-scaled" in refusal(known).hint
    assert "--assume-scaled" not in refusal(unknown).hint
    assert refusal(unknown, assume_scaled=True).code == "scale-shape"


@pytest.mark.parametrize("blocks", [3, 4, 12, 24, 5])
def test_blocks_within_rows_must_divide_the_row_into_parts_worth_a_scale(
    blocks, quantised, tmp_path
):
    sample = quantised.kohya().with_tensors(
        c__scale_weight=quantised.scales(46, 6, blocks, 1)
    )
    columns = {3: 64, 4: 48, 12: 16}.get(blocks)
    with SafetensorsCheckpoint(sample.write(tmp_path)) as checkpoint:
        if columns is None:
            with pytest.raises(ShapeError):
                detect_layout(checkpoint, assume_scaled=True)
        else:
            layout = detect_layout(checkpoint, assume_scaled=True)
            assert layout.scales["c.weight"].columns == columns


@pytest.mark.parametrize(
    ("code", "data"), [("F64", bytes(8)), ("I32", bytes(4)), ("F8_E4M3", b"\x38")]
)
def test_scale_of_a_foreign_dtype_is_refused(code, data, quantised, refusal):
    sample = quantised.comfy_header().with_tensors(
        **{f"{A_KEY}__weight_scale": quantised.Raw(code, (), data)}
    )

    error = refusal(sample)

    assert error.code == "scale-dtype"
    assert f"{A}.weight_scale is {code}" in str(error)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "0", "-0.0", "-0.5"])
@pytest.mark.parametrize("code", ["F32", "F16", "BF16"])
def test_scale_that_no_weight_can_have_is_refused(value, code, quantised, refusal):
    sample = quantised.comfy_header().with_tensors(
        **{f"{A_KEY}__weight_scale": quantised.scale_of(float(value), code)}
    )

    error = refusal(sample)

    assert isinstance(error, ValueRangeError)
    assert error.code == "bad-scale"
    assert f"{A}.weight_scale is {float(value)}" in str(error)
