"""ComfyUI's quantization entries: everything that is none is refused."""

import json

import pytest

from release.errors import CheckpointError, DtypeError
from release.formats.checkpoint import SafetensorsCheckpoint
from release.formats.layouts.detect import detect_layout

E4M3 = {"format": "float8_e4m3fn"}


@pytest.mark.parametrize(
    ("name", "format_name"),
    [
        ("nvfp4", "nvfp4"),
        ("mxfp8", "mxfp8"),
        ("int8_tensorwise", "int8_tensorwise"),
        ("\x1b[31m", "\\u001b[31m"),
    ],
)
def test_formats_that_are_not_scaled_fp8_are_refused_by_name(
    name, format_name, quantised, refusal
):
    sample = quantised.rowwise().with_tensors(
        a__comfy_quant=quantised.text({"format": name})
    )

    error = refusal(sample, assume_scaled=True)

    assert isinstance(error, DtypeError)
    assert error.code == "quantization-format"
    assert f"module a has the format {format_name}" in str(error)


ENTRIES = {
    "empty": b"",
    "not JSON": b"float8_e4m3fn",
    "not UTF-8": b'{"format": "\xff"}',
    "a list": b'["float8_e4m3fn"]',
    "two formats": b'{"format": "float8_e4m3fn", "format": "float8_e5m2"}',
    "more text behind it": b'{"format": "float8_e4m3fn"}{}',
    "NaN": b'{"format": "float8_e4m3fn", "x": NaN}',
    "deep": b'{"format": "float8_e4m3fn", "x": ' + b"[" * 999 + b"]" * 999 + b"}",
    "too long": b'{"format": "float8_e4m3fn"}' + b" " * 4096,
}


@pytest.mark.parametrize("case", ENTRIES)
def test_entry_that_is_none_is_refused(case, quantised, refusal):
    data = ENTRIES[case]
    sample = quantised.rowwise().with_tensors(
        a__comfy_quant=quantised.Raw("U8", (len(data),), data)
    )

    error = refusal(sample, assume_scaled=True)

    assert error.code == "quantization-entry"
    assert "a.comfy_quant" in str(error)


@pytest.mark.parametrize(("code", "shape"), [("I8", (27,)), ("U8", (27, 1))])
def test_entry_in_another_kind_of_tensor_is_refused(code, shape, quantised, refusal):
    data = quantised.text(E4M3).data
    sample = quantised.rowwise().with_tensors(
        a__comfy_quant=quantised.Raw(code, shape, data)
    )

    assert refusal(sample).code == "quantization-entry"


@pytest.mark.parametrize("entry", [{}, {"format": None}, {"format": ["float8_e4m3fn"]}])
def test_entry_without_a_format_is_refused(entry, quantised, refusal):
    sample = quantised.rowwise().with_tensors(a__comfy_quant=quantised.text(entry))

    assert refusal(sample).code == "quantization-format"


@pytest.mark.parametrize("size", [0, -64, 64.0, "64", True, 8, 2**40])
@pytest.mark.parametrize("place", ["top", "params"])
def test_group_size_that_is_none_is_refused(size, place, quantised, refusal):
    group = {"group_size": size}
    entry = {"format": "float8_e4m3fn_blockwise"}
    entry |= group if place == "top" else {"params": group}
    sample = quantised.blockwise().with_tensors(a__comfy_quant=quantised.text(entry))

    error = refusal(sample)

    assert error.code == "quantization-entry"
    assert "group_size" in str(error)


METADATA = {
    "empty": ("", "quantization-entry"),
    "not JSON": ("{", "quantization-entry"),
    "a list": ("[]", "quantization-entry"),
    "no layers": ('{"format_version": "1.0"}', "quantization-entry"),
    "layers in a list": (
        '{"layers": [{"format": "float8_e4m3fn"}]}',
        "quantization-entry",
    ),
    "a format alone": ('{"layers": {"a": "float8_e4m3fn"}}', "quantization-entry"),
    "a module twice": ('{"layers": {"a": {}, "a": {}}}', "quantization-entry"),
    "a later version": (
        '{"format_version": "2.0", "layers": {}}',
        "quantization-version",
    ),
    "a number as version": (
        '{"format_version": 1, "layers": {}}',
        "quantization-version",
    ),
    "half a surrogate pair": ('{"layers": {"\\ud800": {}}}', "quantization-entry"),
    "4 MiB": (json.dumps({"layers": {}, "x": "x" * 2**22}), "quantization-entry"),
    "unknown format": ('{"layers": {"a": {"format": "nvfp4"}}}', "quantization-format"),
}


@pytest.mark.parametrize("case", METADATA)
def test_header_entries_that_are_none_are_refused(case, quantised, tmp_path):
    text, code = METADATA[case]
    path = tmp_path / "model.safetensors"
    metadata = {"_quantization_metadata": text}
    path.write_bytes(quantised.file_bytes(quantised.rowwise().tensors, metadata))
    with (
        SafetensorsCheckpoint(path) as checkpoint,
        pytest.raises(CheckpointError) as caught,
    ):
        detect_layout(checkpoint, assume_scaled=True)

    assert caught.value.code == code
    assert len(str(caught.value)) < 1000


def test_header_names_are_taken_as_they_are(quantised, refusal):
    sample = quantised.comfy_header()
    sample.metadata["_quantization_metadata"] = json.dumps({"layers": {"a": E4M3}})

    error = refusal(sample)

    assert error.code == "missing-weight"
    assert "a.weight" in str(error)
