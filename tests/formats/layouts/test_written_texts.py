"""The texts of ComfyUI's current layout: exact bytes, the same for any order."""

import json

import pytest

from release.formats.checkpoint import SafetensorsCheckpoint
from release.formats.layouts.comfy import (
    METADATA_KEY,
    comfy_quant_bytes,
    quantization_metadata,
)
from release.formats.layouts.detect import detect_layout
from release.formats.layouts.names import scale_names
from release.numeric.dtype import Dtype


def test_entry_of_e4m3_is_63_known_bytes():
    data = comfy_quant_bytes(Dtype.F8_E4M3)

    assert data == b'{"format": "float8_e4m3fn", "full_precision_matrix_mult": true}'
    assert len(data) == 63


def test_entry_of_e5m2_names_e5m2():
    assert json.loads(comfy_quant_bytes(Dtype.F8_E5M2)) == {
        "format": "float8_e5m2",
        "full_precision_matrix_mult": True,
    }


def test_metadata_holds_the_same_entries_sorted():
    text = quantization_metadata(dict.fromkeys(["b.c", "a", "b"], Dtype.F8_E4M3))

    entry = json.loads(comfy_quant_bytes(Dtype.F8_E4M3))
    document = json.loads(text)
    assert document == {
        "format_version": "1.0",
        "layers": {"a": entry, "b": entry, "b.c": entry},
    }
    assert list(document["layers"]) == ["a", "b", "b.c"]
    assert text == quantization_metadata(
        dict.fromkeys(["a", "b", "b.c"], Dtype.F8_E4M3)
    )


def test_names_beside_a_weight():
    assert scale_names("x.y.weight") == ("x.y.weight_scale", "x.y.comfy_quant")
    assert scale_names("weight") == ("weight_scale", "comfy_quant")


@pytest.mark.parametrize("name", ["x.bias", "x.weight_scale", "xweight", "x.weight.y"])
def test_only_weights_have_names_beside_them(name):
    with pytest.raises(ValueError, match="ends in"):
        scale_names(name)


@pytest.mark.parametrize("code", ["F8_E4M3", "F8_E5M2"])
def test_what_is_written_is_detected_without_a_warning(code, quantised, tmp_path):
    dtype = Dtype[code]
    tensors = {}
    for module in ("a", "b.c"):
        names = scale_names(f"{module}.weight")
        data = comfy_quant_bytes(dtype)
        tensors[f"{module}.weight"] = quantised.fp8(60, 6, 4, code=code)
        tensors[names.scale] = quantised.scales(60)
        tensors[names.comfy_quant] = quantised.Raw("U8", (len(data),), data)
    metadata = {METADATA_KEY: quantization_metadata({"a": dtype, "b.c": dtype})}
    path = tmp_path / "model.safetensors"
    path.write_bytes(quantised.file_bytes(tensors, metadata))

    with SafetensorsCheckpoint(path) as checkpoint:
        layout = detect_layout(checkpoint)

    assert layout.name == "comfy-scaled"
    assert layout.scales.keys() == {"a.weight", "b.c.weight"}
    assert layout.warnings == ()
