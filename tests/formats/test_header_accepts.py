"""Legal files, odd ones included: what is read, and which warnings they get."""

import json
import struct

import pytest

from release.formats.header import read_header
from release.formats.input import InputFile
from release.numeric.dtype import Dtype


def raw(header, data=b""):
    body = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(body)) + body + data


def entry(dtype="U8", shape=(4,), offsets=(0, 4), **fields):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **fields}


def header_of(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with InputFile(path) as file:
        return read_header(file)


def members(**entries):
    return raw(json.dumps(entries), b"1234")


def test_fields_of_a_plain_file_are_read(tmp_path):
    content = raw(
        '{"__metadata__":{"k":"v"},'
        '"b":{"dtype":"F16","shape":[1,2],"data_offsets":[4,8]},'
        '"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}',
        b"12345678",
    )

    header = header_of(tmp_path, content)

    first, second = header.tensors
    assert (first.name, first.dtype, first.shape) == ("a", Dtype.BF16, (2,))
    assert (first.begin, first.end, first.nbytes, first.n_elements) == (0, 4, 4, 2)
    assert (second.name, second.dtype, second.shape) == ("b", Dtype.F16, (1, 2))
    assert dict(header.metadata) == {"k": "v"}
    assert header.nbytes == len(content) - 8
    assert header.warnings == ()


@pytest.mark.parametrize("dtype", list(Dtype), ids=lambda dtype: dtype.code)
def test_every_dtype_of_the_format_is_read(tmp_path, dtype):
    nbytes = dtype.bits
    content = raw(
        json.dumps({"a": entry(dtype.code, (8,), (0, nbytes))}), bytes(nbytes)
    )

    header = header_of(tmp_path, content)

    assert header.tensors[0].dtype is dtype


ODD_BUT_LEGAL = {
    "unsorted names": raw(
        '{"z":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
        '"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}',
        b"12",
    ),
    "unaligned tensor": raw(
        '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
        '"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}}',
        b"12345",
    ),
    "header length not a multiple of 8": raw(
        '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]} }', b"1"
    ),
    "zero elements between others": raw(
        '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
        '"b":{"dtype":"U8","shape":[0,7],"data_offsets":[1,1]},'
        '"c":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}',
        b"12",
    ),
    "zero elements at the end": raw(
        '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
        '"b":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}}',
        b"1",
    ),
    "scalar": members(a=entry("F32", ())),
    "name that looks like a path": members(**{"../../x": entry()}),
    "name beyond ASCII": members(**{"模型.weight": entry()}),
    "name with quotes and backslash": members(**{'a"\\b': entry()}),
    "emoji by surrogate pair": raw(
        '{"\\ud83d\\ude00":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"1"
    ),
    "padding with spaces": raw(json.dumps({"a": entry()}) + " " * 4096, b"1234"),
    "blanks between tokens": raw(
        '{ "a" :\n{"dtype":"U8",\t"shape":[ 4 ],"data_offsets":[0,4]}\r}', b"1234"
    ),
    "rank 32": members(a=entry(shape=[1] * 31 + [4])),
    "empty metadata": members(__metadata__={}, a=entry()),
    "braces in metadata": members(__metadata__={"k": "{" * 250_000}, a=entry()),
    "quotes and backslashes in metadata": members(
        __metadata__={"k": '{\\"' * 250_000}, a=entry()
    ),
}


@pytest.mark.parametrize(
    "content", ODD_BUT_LEGAL.values(), ids=list(ODD_BUT_LEGAL.keys())
)
def test_odd_but_legal_file_is_read_without_warning(tmp_path, content):
    warnings = header_of(tmp_path, content).warnings

    assert [line for line in warnings if not line.startswith("metadata-size")] == []


WARNED = {
    "no tensors": (raw("{}"), "no-tensors"),
    "newline behind the object": (raw("{}\n"), "header-padding"),
    "4 097 spaces": (raw("{}" + " " * 4097), "header-padding"),
    "empty name": (members(**{"": entry()}), "name"),
    "NUL in a name": (members(**{"a\0b": entry()}), "name"),
    "bidi override in a name": (members(**{"a\u202eb": entry()}), "name"),
    "zero-width space in a name": (members(**{"a\u200bb": entry()}), "name"),
    "blank before a name": (members(**{" a": entry()}), "name"),
    "no-break space behind a name": (members(**{"a\u00a0": entry()}), "name"),
    "two spellings of one name": (
        raw(
            '{"\\u00e9":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
            '"e\\u0301":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}',
            b"12",
        ),
        "confusable-names",
    ),
    "rank 33": (members(a=entry(shape=[1] * 32 + [4])), "rank"),
    "small unknown field": (members(a=entry(note="x")), "unknown-field"),
    "deep unknown field": (
        members(a=entry(x=json.loads("[" * 125 + "]" * 125))),
        "unknown-field",
    ),
    "metadata above 256 KiB": (
        members(__metadata__={"k": "x" * 300_000}, a=entry()),
        "metadata-size",
    ),
    "header above 16 MiB": (
        raw(json.dumps({"a": entry()}) + " " * (16 * 2**20), b"1234"),
        "header-too-large",
    ),
}


@pytest.mark.parametrize(("content", "code"), WARNED.values(), ids=list(WARNED.keys()))
def test_odd_file_is_read_with_a_warning_that_names_the_oddity(tmp_path, content, code):
    warnings = header_of(tmp_path, content).warnings

    assert code in [line.split(":")[0] for line in warnings]


def test_many_odd_names_give_one_short_warning(tmp_path):
    names = {f"n{i}\0": entry("U8", [0], [0, 0]) for i in range(5000)}

    warnings = header_of(tmp_path, raw(json.dumps(names))).warnings

    assert len(warnings) == 1
    assert len(warnings[0]) < 300
    assert "\0" not in warnings[0]


def test_200_000_tensors_are_read(tmp_path):
    text = '"%x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    content = raw("{" + ",".join(text % i for i in range(200_000)) + "}")

    header = header_of(tmp_path, content)

    assert len(header.tensors) == 200_000
