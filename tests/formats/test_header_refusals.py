"""Malformed files, one defect each, and the code each of them must end with."""

import json
import struct

import pytest
import safetensors

from release.errors import (
    CheckpointError,
    DtypeError,
    HeaderError,
    LayoutError,
    ShapeError,
)
from release.formats.header import read_header
from release.formats.input import InputFile


def raw(header, data=b"", length=None):
    """Return a file of exactly this header text and data."""
    body = header if isinstance(header, bytes) else header.encode()
    n = len(body) if length is None else length
    return struct.pack("<Q", n) + body + data


def entry(dtype="U8", shape=(4,), offsets=(0, 4), **fields):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **fields}


def file_of(members, data=b"\1\2\3\4"):
    return raw(json.dumps(members), data)


def one(data=b"\1\2\3\4", **fields):
    """Return a file with one tensor `a` of four bytes, some fields replaced."""
    return file_of({"a": entry() | fields}, data)


def text_of(fields, data=b"\1\2\3\4"):
    """Return a file with one tensor `a` whose entry is this JSON text."""
    return raw('{"a":{' + fields + "}}", data)


def two(first, second, data):
    return file_of({"a": entry(**first), "b": entry(**second)}, data)


def metadata_of(text):
    return raw('{"__metadata__":' + text + ',"a":' + json.dumps(entry()) + "}", b"1234")


GOOD = '"dtype":"U8","shape":[4],"data_offsets":[0,4]'
VALID = one()
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\n"

HEADER_CASES = {
    # too little, wrong length
    "empty file": (b"", "too-short"),
    "one byte": (b"\x08", "too-short"),
    "seven bytes": (VALID[:7], "too-short"),
    "length field only": (VALID[:8], "header-length"),
    "cut within the header": (VALID[:30], "header-length"),
    "length of 10 000 in a small file": (
        raw("{}", b"x" * 50, length=10_000),
        "header-length",
    ),
    "length one more than the file": (raw("{}", length=3), "header-length"),
    "length at the limit": (raw("{}", length=100_000_000), "header-length"),
    "length above the limit": (raw("{}", length=100_000_001), "header-too-large"),
    "length 2^63": (raw("{}", length=2**63), "header-too-large"),
    "length 2^64-8 that wraps": (raw("{}", length=2**64 - 8), "header-too-large"),
    "length 2^64-1": (raw("{}", length=2**64 - 1), "header-too-large"),
    "length zero": (raw("", b"1234"), "header-json"),
    "big-endian length": (struct.pack(">Q", 2) + b"{}", "header-too-large"),
    # something else entirely
    "LFS pointer": (LFS + b"size 1\n", "lfs-pointer"),
    "HTML error page": (b"<!DOCTYPE html><html>404</html>", "header-too-large"),
    "zip archive": (b"PK\x03\x04" + bytes(range(60)), "header-too-large"),
    "pickle": (b"\x80\x02}q\x00X\x05\x00\x00\x00model", "header-too-large"),
    "plain JSON index": (b'{"weight_map": {"a": "b"}}', "header-too-large"),
    "GGUF": (b"GGUF\x03\0\0\0" + b"\xff" * 8, "header-too-large"),
    "4 KiB of zeros": (bytes(4096), "header-json"),
    # encoding
    "invalid UTF-8 in a name": (
        raw(b'{"\xc3\x28":{' + GOOD.encode() + b"}}", b"1234"),
        "header-utf8",
    ),
    "overlong slash": (
        raw(b'{"\xc0\xaf":{' + GOOD.encode() + b"}}", b"1234"),
        "header-utf8",
    ),
    "encoded surrogate": (
        raw(b'{"\xed\xa0\x80":{' + GOOD.encode() + b"}}", b"1234"),
        "header-utf8",
    ),
    "UTF-16 with mark": (raw("{}".encode("utf-16")), "header-utf8"),
    "latin-1 byte": (raw(b'{"\xe9":{}}'), "header-utf8"),
    "UTF-16 without mark": (raw("{}".encode("utf-16-le")), "header-json"),
    "byte order mark": (raw(b"\xef\xbb\xbf{}"), "header-json"),
    "lone surrogate escape as name": (
        raw('{"\\ud800":{' + GOOD + "}}", b"1234"),
        "header-json",
    ),
    "lone low surrogate in metadata": (metadata_of('{"k":"\\udc00"}'), "header-json"),
    "lone surrogate as metadata key": (metadata_of('{"\\ud800":"v"}'), "header-json"),
    "lone surrogate in an unknown field": (
        text_of(GOOD + ',"x":[["\\ud800"]]'),
        "header-json",
    ),
    # where it starts and ends
    "space before the brace": (
        raw(" " + VALID[8:-4].decode(), b"1234"),
        "header-start",
    ),
    "newline before the brace": (raw("\n{}"), "header-start"),
    "tab before the brace": (raw("\t{}"), "header-start"),
    "array": (raw("[]"), "header-json"),
    "null": (raw("null"), "header-json"),
    "string": (raw('"a"'), "header-json"),
    "number": (raw("1"), "header-json"),
    "only spaces": (raw("        "), "header-json"),
    "NUL behind the object": (raw("{}\0\0"), "header-json"),
    "second object": (raw("{}{}"), "header-json"),
    "text behind the object": (raw("{} x"), "header-json"),
    "form feed behind the object": (raw("{}\f"), "header-json"),
    # grammar
    "trailing comma in the object": (
        raw('{"a":{' + GOOD + "},}", b"1234"),
        "header-json",
    ),
    "trailing comma in an array": (
        text_of('"dtype":"U8","shape":[4,],"data_offsets":[0,4]'),
        "header-json",
    ),
    "single quotes": (raw("{'a':1}"), "header-json"),
    "comment": (raw("{/*x*/}"), "header-json"),
    "key without quotes": (raw("{a:1}"), "header-json"),
    "object not closed": (raw('{"a":{' + GOOD + "}", b"1234"), "header-json"),
    "string not closed": (raw('{"a'), "header-json"),
    "control character in a string": (raw('{"a\nb":{' + GOOD + "}}"), "header-json"),
    "bad escape": (raw('{"\\x41":{' + GOOD + "}}"), "header-json"),
    "short escape": (raw('{"\\u00":{' + GOOD + "}}"), "header-json"),
    "NaN": (text_of('"dtype":"U8","shape":[NaN],"data_offsets":[0,4]'), "header-json"),
    "Infinity": (
        text_of('"dtype":"U8","shape":[4],"data_offsets":[0,Infinity]'),
        "header-json",
    ),
    "minus Infinity": (
        text_of('"dtype":"U8","shape":[-Infinity],"data_offsets":[0,4]'),
        "header-json",
    ),
    "leading zero": (
        text_of('"dtype":"U8","shape":[04],"data_offsets":[0,4]'),
        "header-json",
    ),
    "plus sign": (
        text_of('"dtype":"U8","shape":[+4],"data_offsets":[0,4]'),
        "header-json",
    ),
    "hexadecimal": (
        text_of('"dtype":"U8","shape":[0x4],"data_offsets":[0,4]'),
        "header-json",
    ),
    # nesting, numbers
    "100 000 nested arrays": (
        text_of(GOOD + ',"x":' + "[" * 100_000 + "]" * 100_000),
        "header-json",
    ),
    "100 000 arrays never closed": (raw('{"a":' + "[" * 100_000), "header-json"),
    "128 levels": (text_of(GOOD + ',"x":' + "[" * 126 + "]" * 126), "header-json"),
    "5 000 digits": (
        text_of('"dtype":"U8","shape":[' + "9" * 5000 + '],"data_offsets":[0,4]'),
        "header-json",
    ),
    "2^64": (
        text_of('"dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,4]'),
        "header-json",
    ),
    "float out of range in an unknown field": (
        text_of(GOOD + ',"x":1e400'),
        "header-json",
    ),
    # duplicates
    "same name twice, equal": (
        raw('{"a":{' + GOOD + '},"a":{' + GOOD + "}}", b"1234"),
        "duplicate-key",
    ),
    "same name, other dtype": (
        raw(
            '{"a":{' + GOOD + '},"a":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}}',
            b"1234",
        ),
        "duplicate-key",
    ),
    "same name, other range": (
        raw(
            '{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},'
            '"a":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}',
            b"1234",
        ),
        "duplicate-key",
    ),
    "same name by escape": (
        raw('{"a":{' + GOOD + '},"\\u0061":{' + GOOD + "}}", b"1234"),
        "duplicate-key",
    ),
    "dtype twice": (text_of(GOOD + ',"dtype":"U8"'), "duplicate-key"),
    "shape twice": (text_of(GOOD + ',"shape":[4]'), "duplicate-key"),
    "metadata twice": (
        raw('{"__metadata__":{},"__metadata__":{},"a":{' + GOOD + "}}", b"1234"),
        "duplicate-key",
    ),
    "metadata twice by escape": (
        raw('{"__metadata__":{},"\\u005f_metadata__":{},"a":{' + GOOD + "}}", b"1234"),
        "duplicate-key",
    ),
    "key twice in metadata": (metadata_of('{"k":"1","k":"2"}'), "duplicate-key"),
    "key twice in an unknown field": (
        text_of(GOOD + ',"x":{"k":1,"k":1}'),
        "duplicate-key",
    ),
    # entry schema
    "shape missing": (text_of('"dtype":"U8","data_offsets":[0,4]'), "tensor-entry"),
    "dtype missing": (text_of('"shape":[4],"data_offsets":[0,4]'), "tensor-entry"),
    "offsets missing": (text_of('"dtype":"U8","shape":[4]'), "tensor-entry"),
    "empty entry": (raw('{"a":{}}'), "tensor-entry"),
    "entry as an array": (file_of({"a": ["U8", [4], [0, 4]]}), "tensor-entry"),
    "entry null": (file_of({"a": None}), "tensor-entry"),
    "entry a string": (file_of({"a": "U8"}), "tensor-entry"),
    "entry a number": (file_of({"a": 4}), "tensor-entry"),
    "shape a number": (one(shape=4), "tensor-entry"),
    "shape null": (one(shape=None), "tensor-entry"),
    "shape an object": (one(shape={}), "tensor-entry"),
    "dimension a string": (one(shape=["4"]), "tensor-entry"),
    "dimension true": (
        one(data=b"1", shape=[True], data_offsets=[0, 1]),
        "tensor-entry",
    ),
    "dimension a float": (one(shape=[4.0]), "tensor-entry"),
    "dimension with exponent": (
        text_of('"dtype":"U8","shape":[4e0],"data_offsets":[0,4]'),
        "tensor-entry",
    ),
    "dimension negative": (one(shape=[-4]), "tensor-entry"),
    "dimension minus zero": (
        text_of('"dtype":"U8","shape":[-0],"data_offsets":[0,0]', b""),
        "tensor-entry",
    ),
    "dimension nested": (one(shape=[[4]]), "tensor-entry"),
    "dimension null": (one(shape=[None]), "tensor-entry"),
    "offsets strings": (one(data_offsets=["0", "4"]), "tensor-entry"),
    "offsets booleans": (
        one(data=b"1", shape=[1], data_offsets=[False, True]),
        "tensor-entry",
    ),
    "offsets negative": (one(data_offsets=[-4, 0]), "tensor-entry"),
    "offsets floats": (one(data_offsets=[0.0, 4.0]), "tensor-entry"),
    "offsets three": (one(data_offsets=[0, 4, 4]), "tensor-entry"),
    "offsets one": (one(data_offsets=[4]), "tensor-entry"),
    "offsets none": (one(data_offsets=[]), "tensor-entry"),
    "offsets an object": (one(data_offsets={"0": 4}), "tensor-entry"),
    "unknown field of 1 MB": (one(payload="x" * 1_000_000), "unknown-field"),
    "unknown field just above 1 KiB": (one(x="y" * 1100), "unknown-field"),
    "unknown fields together above 1 KiB": (
        one(x="y" * 600, z="y" * 600),
        "unknown-field",
    ),
    # metadata
    "metadata integer value": (metadata_of('{"k":1}'), "metadata"),
    "metadata null value": (metadata_of('{"k":null}'), "metadata"),
    "metadata nested": (metadata_of('{"k":{"a":"b"}}'), "metadata"),
    "metadata list": (metadata_of('["a"]'), "metadata"),
    "metadata null": (metadata_of("null"), "metadata"),
    "metadata string": (metadata_of('"text"'), "metadata"),
    "metadata by escape": (
        raw('{"\\u005f_metadata__":{' + GOOD + "}}", b"1234"),
        "metadata",
    ),
    "metadata of 9 MB": (
        metadata_of('{"k":"' + "x" * 9_000_000 + '"}'),
        "metadata-size",
    ),
    # names and counts
    "name of 1 MB": (file_of({"n" * 1_000_000: entry()}), "name-length"),
    "name of 1 025 bytes": (file_of({"n" * 1025: entry()}), "name-length"),
    "name of 600 two-byte characters": (
        raw('{"' + "é" * 600 + '":{' + GOOD + "}}", b"1234"),
        "name-length",
    ),
    "200 001 tensors": (
        raw("{" + ",".join(f'"{i:x}":{{}}' for i in range(200_003)) + "}"),
        "too-many-tensors",
    ),
    "200 001 tensors that are not objects": (
        raw("{" + ",".join(f'"{i:x}":1' for i in range(200_001)) + "}"),
        "too-many-tensors",
    ),
    "200 003 objects in a header that breaks off": (
        raw('{"a":{},' * 200_003),
        "too-many-tensors",
    ),
    "two million values": (
        raw('{"a":[' + "0," * 2_097_153 + "0]}"),
        "too-many-values",
    ),
}

DTYPE_CASES = {
    "F128": (one(dtype="F128"), "dtype"),
    "lower case": (one(dtype="f32"), "dtype"),
    "framework name": (one(dtype="torch.float16"), "dtype"),
    "empty": (one(dtype=""), "dtype"),
    "with a blank": (one(dtype="U8 "), "dtype"),
    "null": (one(dtype=None), "dtype"),
    "number": (one(dtype=8), "dtype"),
    "array": (one(dtype=["U8"]), "dtype"),
    "object as the library's parser takes it": (one(dtype={"U8": None}), "dtype"),
    "three F4": (
        one(data=b"12", dtype="F4", shape=[3], data_offsets=[0, 2]),
        "sub-byte",
    ),
    "one F6": (
        one(data=b"1", dtype="F6_E2M3", shape=[1], data_offsets=[0, 1]),
        "sub-byte",
    ),
    "scalar F4": (
        one(data=b"1", dtype="F4", shape=[], data_offsets=[0, 1]),
        "sub-byte",
    ),
}

SHAPE_CASES = {
    "2^32 x 2^32 x 4 on four bytes": (one(shape=[2**32, 2**32, 4]), "overflow"),
    "2^32 x 2^32": (one(shape=[2**32, 2**32]), "overflow"),
    "elements fit, bits do not": (one(dtype="F64", shape=[2**60]), "overflow"),
    "dimension of 2^63 beside a zero": (
        one(data=b"", shape=[0, 2**63], data_offsets=[0, 0]),
        "overflow",
    ),
    "zero first, then 2^32 x 2^32": (
        one(data=b"", shape=[0, 2**32, 2**32], data_offsets=[0, 0]),
        "overflow",
    ),
    "dimension 2^64-1": (one(shape=[2**64 - 1]), "overflow"),
    "rank 100 000": (one(shape=[1] * 99_999 + [4]), "rank"),
    "rank 1 025": (one(shape=[1] * 1024 + [4]), "rank"),
}

HALF = {"shape": (2,), "offsets": (0, 2)}
LAYOUT_CASES = {
    "last byte missing": (VALID[:-1], "truncated"),
    "no data at all": (VALID[:-4], "truncated"),
    "second tensor missing": (
        two(HALF, {"shape": (2,), "offsets": (2, 4)}, b"12"),
        "truncated",
    ),
    "one byte appended": (VALID + b"\0", "trailing-bytes"),
    "zip appended": (VALID + b"PK\x05\x06" + bytes(18), "trailing-bytes"),
    "second file appended": (VALID + VALID, "trailing-bytes"),
    "data without tensors": (raw("{}", b"1234"), "trailing-bytes"),
    "two names on one range": (two({}, {}, b"1234"), "overlap"),
    "overlap by one byte": (two({}, {"offsets": (3, 7)}, b"1234567"), "overlap"),
    "one tensor inside another": (
        two({}, {"shape": (2,), "offsets": (1, 3)}, b"1234"),
        "overlap",
    ),
    "empty tensor inside another": (
        two({}, {"shape": (0,), "offsets": (2, 2)}, b"1234"),
        "overlap",
    ),
    "gap between tensors": (
        two(HALF, {"shape": (2,), "offsets": (3, 5)}, b"12345"),
        "hole",
    ),
    "gap before the first": (one(data=b"12345", data_offsets=[1, 5]), "hole"),
    "offsets reversed": (one(data_offsets=[4, 0]), "offsets"),
    "offsets reversed and huge": (one(data_offsets=[2**63, 0]), "offsets"),
    "end at 2^63": (one(data_offsets=[0, 2**63]), "offsets"),
    "both at 2^64-1": (
        one(shape=[0], data_offsets=[2**64 - 1, 2**64 - 1]),
        "offsets",
    ),
    "empty tensor behind the data": (
        two({}, {"shape": (0,), "offsets": (9, 9)}, b"1234"),
        "offsets",
    ),
    "2 x 2 F32 on four bytes": (one(dtype="F32", shape=[2, 2]), "size-mismatch"),
    "scalar on four bytes": (one(shape=[]), "size-mismatch"),
    "zero elements on four bytes": (one(shape=[0]), "size-mismatch"),
    "four elements on no byte": (
        one(data=b"", shape=[4], data_offsets=[0, 0]),
        "size-mismatch",
    ),
    "dtype text edited": (one(dtype="F16"), "size-mismatch"),
}


def refused(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with InputFile(path) as file, pytest.raises(CheckpointError) as caught:
        read_header(file)
    return caught.value


def table(cases):
    rows = [pytest.param(*row, id=name) for name, row in cases.items()]
    return pytest.mark.parametrize(("content", "code"), rows)


def assert_refused(error, kind, code):
    assert (type(error), error.code) == (kind, code)
    assert error.hint
    assert "\n" not in str(error)
    assert "model.safetensors" in str(error)


@table(HEADER_CASES)
def test_header_with_one_defect_is_refused_by_name(tmp_path, content, code):
    assert_refused(refused(tmp_path, content), HeaderError, code)


@table(DTYPE_CASES)
def test_dtype_that_is_unknown_or_does_not_fill_bytes_is_refused(
    tmp_path, content, code
):
    error = refused(tmp_path, content)

    assert_refused(error, DtypeError, code)
    assert "tensor a" in str(error)


@table(SHAPE_CASES)
def test_impossible_shape_is_refused(tmp_path, content, code):
    error = refused(tmp_path, content)

    assert_refused(error, ShapeError, code)
    assert "tensor a" in str(error)


@table(LAYOUT_CASES)
def test_data_not_owned_by_exactly_one_tensor_is_refused(tmp_path, content, code):
    assert_refused(refused(tmp_path, content), LayoutError, code)


def test_every_truncation_of_a_file_is_refused(tmp_path):
    content = file_of({"a": entry(), "b": entry(offsets=(4, 8))}, b"12345678")

    codes = {refused(tmp_path, content[:n]).code for n in range(len(content))}

    assert codes == {"too-short", "header-length", "truncated"}


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"<!DOCTYPE html><html>", "web page"),
        (b"PK\x03\x04" + b"\xff" * 20, "zip"),
        (b"\x80\x02}q\x00X\x05\x00\x00\x00model", "pickle"),
        (b'{"weight_map": {}}', "JSON"),
        (b"GGUF\x03\0\0\0" + b"\xff" * 8, "GGUF"),
    ],
)
def test_message_names_what_the_file_is_instead(tmp_path, content, word):
    error = refused(tmp_path, content)

    assert word in error.reason
    assert error.reason.endswith(", expected a safetensors file")
    assert not any(character.isdigit() for character in error.reason)
    assert error.hint


def test_start_that_is_nothing_known_is_told_by_its_number(tmp_path):
    error = refused(tmp_path, b"\xff" * 20)

    assert error.reason.startswith("header length is 18,446,744,073,709,551,615, ")
    assert "damaged" in error.hint


def test_truncation_names_the_tensor_and_the_next_step(tmp_path):
    error = refused(tmp_path, VALID[:-1])

    assert "tensor a: ends at byte 4 of the data, the file at 3" in str(error)
    assert "krelease verify" in error.hint


def test_hostile_name_is_escaped_in_the_message(tmp_path):
    error = refused(tmp_path, file_of({"\x1b[31m\nred": entry(dtype="X")}))

    assert "\x1b" not in str(error)
    assert "\\u001b" in str(error)


def library_accepts(content):
    try:
        safetensors.deserialize(content)
    except safetensors.SafetensorError:
        return False
    return True


def test_only_the_deliberate_refusals_are_files_the_library_accepts():
    cases = [
        *HEADER_CASES.values(),
        *DTYPE_CASES.values(),
        *SHAPE_CASES.values(),
        *LAYOUT_CASES.values(),
    ]

    accepted = {code for content, code in cases if library_accepts(content)}

    assert accepted == {
        "duplicate-key",
        "dtype",
        "header-start",
        "metadata",
        "metadata-size",
        "name-length",
        "overflow",
        "rank",
        "tensor-entry",
        "unknown-field",
    }
