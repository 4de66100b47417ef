"""The writer against the safetensors library, in both directions."""

import os
import random

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from release.errors import OutputError
from release.formats import header_encode
from release.formats.header import TensorSpec, encode_header, lay_out, read_header
from release.formats.input import InputFile
from release.formats.output import write_text_file
from release.numeric.dtype import BY_CODE, Dtype

NUMPY = {
    "BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "I16": np.int16, "U16": np.uint16,
    "F16": np.float16, "I32": np.int32, "U32": np.uint32, "F32": np.float32,
    "C64": np.complex64, "F64": np.float64, "I64": np.int64, "U64": np.uint64,
}  # fmt: skip
TORCH = {
    "F8_E5M2": torch.float8_e5m2, "F8_E4M3": torch.float8_e4m3fn,
    "F8_E8M0": torch.float8_e8m0fnu, "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz, "BF16": torch.bfloat16,
    "F16": torch.float16, "F32": torch.float32, "F64": torch.float64,
    "C64": torch.complex64, "I64": torch.int64, "I32": torch.int32,
    "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
    "U16": torch.uint16, "U32": torch.uint32, "U64": torch.uint64,
}  # fmt: skip


def specs_of(arrays, code_of):
    return [
        TensorSpec(name, BY_CODE[code_of(array)], tuple(array.shape))
        for name, array in arrays.items()
    ]


def checkpoint_bytes(specs, data_of, metadata=()):
    entries = lay_out(specs)
    data = b"".join(data_of(entry.name) for entry in entries)
    return encode_header(dict(metadata), entries) + data


def numpy_code(array):
    return next(code for code, kind in NUMPY.items() if array.dtype == kind)


def torch_code(tensor):
    return next(code for code, kind in TORCH.items() if tensor.dtype == kind)


def torch_bytes(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@pytest.fixture
def arrays():
    rng = np.random.default_rng(3)
    return {
        f"{code}.{rank}": rng.integers(0, 2, (2, 3, 4)[:rank]).astype(kind)
        for code, kind in NUMPY.items()
        for rank in range(4)
    }


@pytest.fixture
def tensors():
    generator = torch.Generator().manual_seed(3)
    return {
        f"{code}.{size}": torch.randint(
            0, 2, (size * torch.empty((), dtype=kind).itemsize,), generator=generator
        )
        .to(torch.uint8)
        .view(kind)
        for code, kind in TORCH.items()
        for size in (1, 6)
    }


def read_back(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with InputFile(path) as file:
        return read_header(file)


def test_numpy_reader_of_the_library_reads_our_file(arrays):
    content = checkpoint_bytes(
        specs_of(arrays, numpy_code), lambda name: arrays[name].tobytes()
    )

    loaded = safetensors.numpy.load(content)

    assert loaded.keys() == arrays.keys()
    assert all(np.array_equal(loaded[name], arrays[name]) for name in arrays)
    assert all(loaded[name].dtype == arrays[name].dtype for name in arrays)


def test_torch_reader_of_the_library_reads_our_file(tmp_path, tensors):
    content = checkpoint_bytes(
        specs_of(tensors, torch_code), lambda name: torch_bytes(tensors[name])
    )

    path = tmp_path / "model.safetensors"
    path.write_bytes(content)

    loaded = safetensors.torch.load_file(path)

    assert loaded.keys() == tensors.keys()
    assert all(loaded[name].dtype == tensors[name].dtype for name in tensors)
    assert all(
        torch_bytes(loaded[name]) == torch_bytes(tensors[name]) for name in tensors
    )


def test_file_of_the_numpy_writer_equals_ours_byte_for_byte(arrays):
    content = checkpoint_bytes(
        specs_of(arrays, numpy_code), lambda name: arrays[name].tobytes()
    )

    assert content == safetensors.numpy.save(arrays)


def test_file_of_the_torch_writer_equals_ours_byte_for_byte(tensors):
    content = checkpoint_bytes(
        specs_of(tensors, torch_code),
        lambda name: torch_bytes(tensors[name]),
        {"format": "pt"},
    )

    assert content == safetensors.torch.save(tensors, {"format": "pt"})


def test_we_read_what_the_library_writes(tmp_path, tensors):
    content = safetensors.torch.save(tensors, {"a": "1", "b": "2", "c": "ü"})

    header = read_back(tmp_path, content)

    found = {
        entry.name: content[header.nbytes + entry.begin : header.nbytes + entry.end]
        for entry in header.tensors
    }
    assert found == {name: torch_bytes(tensor) for name, tensor in tensors.items()}
    assert dict(header.metadata) == {"a": "1", "b": "2", "c": "ü"}


def test_data_order_is_wide_dtypes_first_then_names_by_code_point():
    specs = [TensorSpec(f"{d.code}/{x}", d, (4,)) for d in Dtype for x in "aZé0"]
    random.Random(1).shuffle(specs)  # noqa: S311

    entries = lay_out(specs)

    codes = (
        "U64 I64 F64 C64 F32 U32 I32 BF16 F16 U16 I16 F8_E5M2FNUZ F8_E4M3FNUZ F8_E8M0 "
        "F8_E4M3 F8_E5M2 I8 U8 F6_E3M2 F6_E2M3 F4 BOOL"
    )
    expected = [f"{code}/{x}" for code in codes.split() for x in "0Zaé"]
    assert [entry.name for entry in entries] == expected


def test_encoded_header_has_sorted_metadata_first_and_raw_unicode():
    entries = lay_out(
        [TensorSpec("ü", Dtype.F16, (2,)), TensorSpec("w", Dtype.F32, ())]
    )

    content = encode_header({"b": "2", "a": "1"}, entries)

    text = (
        '{"__metadata__":{"a":"1","b":"2"},'
        '"w":{"dtype":"F32","shape":[],"data_offsets":[0,4]},'
        '"ü":{"dtype":"F16","shape":[2],"data_offsets":[4,8]}}'
    ).encode()
    padded = text + b" " * (-len(text) % 8)
    assert content == len(padded).to_bytes(8, "little") + padded


def test_empty_metadata_is_left_out():
    assert encode_header({}, ()) == b"\x08" + bytes(7) + b"{}      "


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("__metadata__", "reserved"),
        ("a\ud800", "surrogate"),
        ("n" * 1025, "1,025 bytes"),
        ("é" * 513, "1,026 bytes"),
    ],
    ids=["reserved", "surrogate", "long", "long in UTF-8"],
)
def test_name_no_reader_would_take_is_refused(name, reason):
    entries = lay_out([TensorSpec(name, Dtype.U8, (1,))])

    with pytest.raises(OutputError, match=reason) as caught:
        encode_header({}, entries)

    assert caught.value.code == "tensor-name"


def test_name_that_occurs_twice_is_refused():
    entries = lay_out([TensorSpec("a", Dtype.U8, (1,))] * 2)

    with pytest.raises(OutputError) as caught:
        encode_header({}, entries)

    assert caught.value.code == "tensor-name"


@pytest.mark.parametrize(
    "metadata", [{"k": 1}, {1: "v"}, {"k": None}, {"k": "\ud800"}, {"\udc00": "v"}]
)
def test_metadata_that_is_no_text_is_refused(metadata):
    with pytest.raises(OutputError) as caught:
        encode_header(metadata, ())

    assert caught.value.code == "metadata"


def test_metadata_beyond_the_readers_limit_is_refused():
    with pytest.raises(OutputError) as caught:
        encode_header({"k": "x" * (8 * 2**20)}, ())

    assert caught.value.code == "metadata-size"


def test_more_tensors_than_the_readers_limit_are_refused():
    (entry,) = lay_out([TensorSpec("a", Dtype.U8, (0,))])

    with pytest.raises(OutputError) as caught:
        encode_header({}, [entry] * 200_001)

    assert caught.value.code == "too-many-tensors"


def test_header_beyond_the_readers_limit_is_refused(monkeypatch):
    monkeypatch.setattr(header_encode, "HEADER_NBYTES_MAX", 64)
    entries = lay_out([TensorSpec("a", Dtype.U8, (1,))])
    assert encode_header({}, entries)

    with pytest.raises(OutputError) as caught:
        encode_header({"k": "v"}, entries)

    assert caught.value.code == "header-too-large"


def test_tensors_out_of_order_are_the_callers_mistake():
    entries = lay_out(TensorSpec(name, Dtype.U8, (1,)) for name in "ab")

    with pytest.raises(ValueError, match="expected 0"):
        encode_header({}, entries[::-1])


def test_elements_that_do_not_fill_bytes_are_refused():
    with pytest.raises(OutputError) as caught:
        lay_out([TensorSpec("a", Dtype.F4, (3,))])

    assert caught.value.code == "sub-byte"


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_bytes_depend_on_nothing_but_content_and_mode_on_the_umask(
    tmp_path, arrays, umask
):
    shuffled = list(arrays)
    random.Random(umask).shuffle(shuffled)  # noqa: S311
    metadata = {key: key.upper() for key in shuffled[:10]}
    content = checkpoint_bytes(
        specs_of({name: arrays[name] for name in shuffled}, numpy_code),
        lambda name: arrays[name].tobytes(),
        metadata,
    )
    path = tmp_path / "model.safetensors"
    old = os.umask(umask)
    try:
        write_text_file(path, content)
    finally:
        os.umask(old)

    again = checkpoint_bytes(
        specs_of(arrays, numpy_code),
        lambda name: arrays[name].tobytes(),
        dict(sorted(metadata.items())),
    )
    assert path.read_bytes() == again
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


names = st.text(st.characters(codec="utf-8"), max_size=30).filter(
    lambda name: name != "__metadata__"
)
specs = st.builds(
    TensorSpec,
    names,
    st.sampled_from([dtype for dtype in Dtype if dtype.bits >= 8]),
    st.lists(st.integers(0, 3), max_size=4).map(tuple),
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(names, names, max_size=5),
    st.lists(specs, max_size=8, unique_by=lambda spec: spec.name),
)
def test_header_reads_back_as_it_was_encoded(tmp_path_factory, metadata, tensors):
    entries = lay_out(tensors)
    content = encode_header(metadata, entries)
    data = bytes(entries[-1].end if entries else 0)
    path = tmp_path_factory.getbasetemp() / "round-trip.safetensors"
    path.write_bytes(content + data)

    with InputFile(path) as file:
        header = read_header(file)

    assert set(header.tensors) == set(entries)
    assert dict(header.metadata) == metadata
    assert header.nbytes == len(content)
    assert len(content) % 8 == 0
    assert {name for name, _ in safetensors.deserialize(content + data)} == {
        spec.name for spec in tensors
    }
