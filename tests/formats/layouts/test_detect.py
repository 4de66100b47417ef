"""Layouts: recognised, and read as the values they stand for."""

import json
import time

import numpy as np
import pytest

from release.architecture.sdxl import sdxl_tensors
from release.formats.checkpoint import SafetensorsCheckpoint
from release.formats.layouts.configured import quantization_config_beside
from release.formats.layouts.detect import detect_layout
from release.formats.layouts.kinds import Scale
from release.formats.scaled import multipliers, read_grid
from release.numeric.dtype import Dtype

SAMPLES = [
    "plain",
    "plain-fp8",
    "comfy-legacy",
    "comfy-current",
    "comfy-header",
    "rowwise",
    "blockwise",
    "kohya",
    "compressed-tensors",
    "deepseek",
]


def dequantised(checkpoint, layout, name, table, step=1000):
    """Return a weight's values, put together from ranges of `step` elements."""
    entry = checkpoint.tensors[name]
    buffer = bytearray(entry.nbytes)
    checkpoint.read_into(entry, 0, memoryview(buffer))
    dtype = layout.stored_as.get(name, entry.dtype)
    values = table(dtype.code)[np.frombuffer(buffer, np.uint8)]
    scale = layout.scales.get(name)
    if scale is not None:
        grid = read_grid(checkpoint, scale)
        for start in range(0, values.size, step):
            count = min(step, values.size - start)
            values[start : start + count] *= np.float32(
                multipliers(grid, scale, shape=entry.shape, start=start, count=count)
            )
    return values.reshape(entry.shape)


def test_every_sample_is_tested(quantised):
    assert list(quantised.SAMPLES) == SAMPLES


@pytest.mark.parametrize("name", SAMPLES)
def test_layout_is_recognised(name, quantised, detect):
    sample = quantised.SAMPLES[name]()

    layout = detect(sample)

    assert layout.name == sample.layout
    assert layout.title
    assert layout.has_fp8 == (name != "plain")
    assert layout.is_scaled == bool(sample.auxiliary)
    assert layout.auxiliary == sample.auxiliary
    assert layout.metadata_keys == sample.metadata.keys()
    expected = {} if layout.name == "plain-fp8" else sample.expected
    assert layout.scales.keys() == expected.keys()


@pytest.mark.parametrize("name", SAMPLES)
def test_every_weight_is_its_fp8_value_times_its_scale(name, quantised, tmp_path):
    sample = quantised.SAMPLES[name]()
    path = sample.write(tmp_path)
    with SafetensorsCheckpoint(path) as checkpoint:
        layout = detect_layout(
            checkpoint,
            quantization_config=quantization_config_beside(path),
            assume_scaled=sample.assumed,
        )
        found = {
            weight: dequantised(checkpoint, layout, weight, quantised.decoded)
            for weight in sample.expected
        }

    for weight, values in sample.expected.items():
        assert np.array_equal(found[weight], values), weight


def test_table_of_fp8_codes_agrees_with_the_format(quantised):
    e4m3, e5m2 = quantised.decoded("F8_E4M3"), quantised.decoded("F8_E5M2")

    assert (e4m3[0x7E], e4m3[0x01], e4m3[0x08], e4m3[0xB8]) == (448, 2**-9, 2**-6, -1)
    assert (e5m2[0x7B], e5m2[0x01], e5m2[0x04], e5m2[0xBC]) == (
        57344,
        2**-16,
        2**-14,
        -1,
    )
    assert np.isnan(e4m3).sum() == 2
    assert (np.isnan(e5m2).sum(), np.isinf(e5m2).sum()) == (6, 2)


def test_file_with_e5m2_only_holds_fp8(quantised, detect):
    tensors = {"a.weight": quantised.fp8(29, 4, 4, code="F8_E5M2")}

    assert detect(quantised.Sample("plain-fp8", tensors, {})).name == "plain-fp8"


def test_scale_says_how_many_rows_and_columns_share_it(quantised, detect):
    assert detect(quantised.comfy_header()).scales == {
        "model.diffusion_model.a.weight": Scale(
            "model.diffusion_model.a.weight_scale", 12, 20
        )
    }
    assert detect(quantised.kohya()).scales == {
        "a.weight": Scale("a.scale_weight", 12, 20),
        "b.weight": Scale("b.scale_weight", 1, 9),
        "c.weight": Scale("c.scale_weight", 1, 64),
    }
    assert detect(quantised.deepseek()).scales == {
        "a.weight": Scale("a.weight_scale_inv", 128, 128)
    }


def test_only_u8_weights_are_stored_as_another_dtype(quantised, detect):
    layout = detect(quantised.comfy_current())

    assert layout.stored_as == {"model.diffusion_model.c.weight": Dtype.F8_E4M3}


def words(layout):
    return [warning.partition(":")[0] for warning in layout.warnings]


@pytest.mark.parametrize(
    ("name", "layout"),
    [("compressed-tensors", "orphan-scaled"), ("deepseek", "orphan-deepseek")],
)
def test_scales_without_their_config_can_be_assumed(name, layout, quantised, tmp_path):
    sample = quantised.SAMPLES[name]()
    with SafetensorsCheckpoint(sample.write(tmp_path)) as checkpoint:
        found = detect_layout(checkpoint, assume_scaled=True)
        values = {
            weight: dequantised(checkpoint, found, weight, quantised.decoded)
            for weight in sample.expected
        }

    assert found.name == layout
    assert words(found)[0] == "assumed-scales"
    for weight, expected in sample.expected.items():
        assert np.array_equal(values[weight], expected), weight


def test_scale_per_row_of_a_convolution_is_read(quantised, detect):
    sample = quantised.kohya().with_tensors(
        a__weight=quantised.fp8(32, 5, 4, 3, 3),
        a__scale_weight=quantised.scales(32, 5, 1, 1, 1),
    )

    scale = detect(sample).scales["a.weight"]

    assert (scale.rows, scale.columns) == (1, 36)


def test_legacy_e5m2_is_read_as_stored_where_the_user_decides(quantised, tmp_path):
    weight = quantised.fp8(34, 12, 20, code="F8_E5M2")
    sample = quantised.comfy_legacy().with_tensors(
        model__diffusion_model__a__weight=weight
    )
    with SafetensorsCheckpoint(sample.write(tmp_path)) as checkpoint:
        layout = detect_layout(checkpoint, assume_scaled=True)
        found = dequantised(
            checkpoint, layout, "model.diffusion_model.a.weight", quantised.decoded
        )

    scale = sample.tensors["model.diffusion_model.a.scale_weight"]
    assert np.array_equal(found, quantised.product(weight, scale))
    assert words(layout) == ["marker-dtype", "legacy-e5m2"]


def test_marker_without_prefix_covers_everything(quantised, detect):
    sample = quantised.comfy_legacy()
    marker = sample.tensors["model.diffusion_model.scaled_fp8"]
    sample = sample.with_tensors(
        model__diffusion_model__scaled_fp8=None, scaled_fp8=marker
    )

    layout = detect(sample)

    assert layout.scales.keys() == sample.expected.keys()
    assert "scaled_fp8" in layout.auxiliary


def test_marker_covers_the_module_that_it_is_in_and_all_within(quantised, detect):
    weight, scale = quantised.fp8(39, 4, 4), quantised.scales(39)
    modules = ("x", "x.y", "x.y.z")
    tensors = {"x.scaled_fp8": quantised.Raw("F8_E4M3", (0,), b"")}
    for module in modules:
        tensors |= {f"{module}.weight": weight, f"{module}.scale_weight": scale}

    layout = detect(quantised.Sample("comfy-scaled-legacy", tensors, {}))

    assert layout.scales.keys() == {f"{module}.weight" for module in modules}


def test_many_markers_take_no_longer_than_many_names(quantised, detect):
    weight, scale = quantised.fp8(39, 1), quantised.scales(39)
    marker = quantised.Raw("F8_E4M3", (0,), b"")
    tensors = {}
    for i in range(5000):
        tensors |= {
            f"m{i}.scaled_fp8": marker,
            f"m{i}.weight": weight,
            f"m{i}.scale_weight": scale,
        }
    sample = quantised.Sample("comfy-scaled-legacy", tensors, {})
    begin = time.process_time()

    assert len(detect(sample).scales) == 5000
    # A fraction of a second alone; the bound allows for cores that are shared.
    assert time.process_time() - begin < 20


@pytest.mark.parametrize("config", [None, {}, {"quant_method": "gptq"}, {"x": 1}])
def test_config_that_is_about_something_else_changes_nothing(
    config, quantised, tmp_path
):
    with SafetensorsCheckpoint(quantised.plain_fp8().write(tmp_path)) as checkpoint:
        layout = detect_layout(checkpoint, quantization_config=config)

    assert layout.name == "plain-fp8"


def test_config_of_an_fp8_model_means_nothing_to_a_file_without_fp8(
    quantised, tmp_path
):
    config = {"quant_method": "compressed-tensors", "format": "pack-quantized"}
    with SafetensorsCheckpoint(quantised.plain().write(tmp_path)) as checkpoint:
        layout = detect_layout(checkpoint, quantization_config=config)

    assert layout.name == "plain"


def test_config_names_the_size_of_blocks(quantised, tmp_path):
    sample = quantised.deepseek().with_tensors(
        a__weight_scale_inv=quantised.scales(36, 4, 10)
    )
    config = {"quant_method": "fp8", "weight_block_size": [64, 32]}
    with SafetensorsCheckpoint(sample.write(tmp_path)) as checkpoint:
        layout = detect_layout(checkpoint, quantization_config=config)

    assert layout.scales == {"a.weight": Scale("a.weight_scale_inv", 64, 32)}


def test_block_structure_of_a_config_group_is_followed(quantised, tmp_path):
    sample = quantised.compressed_tensors().with_tensors(
        c__weight_scale=quantised.scales(37, 3, 2)
    )
    weights = {"num_bits": 8, "type": "float", "block_structure": [64, 128]}
    config = {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "config_groups": {"group_0": {"weights": weights}},
    }
    with SafetensorsCheckpoint(sample.write(tmp_path)) as checkpoint:
        layout = detect_layout(checkpoint, quantization_config=config)

    assert layout.scales["c.weight"] == Scale("c.weight_scale", 64, 128)


@pytest.mark.parametrize("name", ["x.weight_scale", "x.scale_weight", "x.input_scale"])
def test_parameter_that_is_only_named_like_a_scale_is_left_alone(
    name, quantised, detect
):
    sample = quantised.plain().with_tensors(
        **{name.replace(".", "__"): quantised.half(3)}
    )

    layout = detect(sample)

    assert layout.name == "plain"
    assert layout.auxiliary == frozenset()


def test_module_at_the_root_has_scales_too(quantised, detect):
    weight, scale = quantised.fp8(38, 4, 4), quantised.scales(38)
    sample = quantised.Sample(
        "kohya-scaled", {"weight": weight, "scale_weight": scale}, {}
    )

    layout = detect(sample, assume_scaled=True)

    assert layout.scales == {"weight": Scale("scale_weight", 4, 4)}


def test_empty_quantization_metadata_is_removed_with_the_layout(quantised, tmp_path):
    empty = {"_quantization_metadata": json.dumps({"layers": {}})}
    path = tmp_path / "model.safetensors"
    path.write_bytes(quantised.file_bytes(quantised.plain().tensors, empty))

    with SafetensorsCheckpoint(path) as checkpoint:
        layout = detect_layout(checkpoint)

    assert (layout.name, layout.metadata_keys) == ("plain", {"_quantization_metadata"})


def test_layout_cannot_be_edited_by_mistake(quantised, detect):
    layout = detect(quantised.comfy_current())

    with pytest.raises(TypeError):
        layout.scales["x"] = None
    with pytest.raises(TypeError):
        layout.stored_as["x"] = None


def test_plain_file_with_the_names_of_sdxl_is_recognised_at_once(quantised, tmp_path):
    tensors = {
        entry.name: quantised.Raw("F16", (1,), b"\0\0") for entry in sdxl_tensors()
    }
    path = tmp_path / "model.safetensors"
    path.write_bytes(quantised.file_bytes(tensors, {}))
    seconds = []
    with SafetensorsCheckpoint(path) as checkpoint:
        assert len(checkpoint.tensors) == 2515
        for _ in range(20):
            begin = time.process_time()
            detect_layout(checkpoint)
            seconds.append(time.process_time() - begin)

    assert min(seconds) < 0.05
