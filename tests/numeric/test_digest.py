"""Digests against published vectors and values computed by other programs."""

import random

import pytest

from release.numeric.digest import (
    CHUNK_NBYTES,
    Sha256,
    Xxh3Bits64Chunks,
    Xxh3Bits128,
    autov2,
    autov3,
    sha256,
    tensor_set_digest,
    xxh3_64,
    xxh3_128,
)
from release.numeric.dtype import Dtype

FILE_A = (
    (152).to_bytes(8, "little") + b'{"__metadata__":{"modelspec.title":"t"},'
    b'"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},'
    b'"b":{"dtype":"F16","shape":[1,2],"data_offsets":[4,8]}}    '
    + bytes.fromhex("003c004000420044")
)
FILE_A_SHA256 = "ea017327cd627ec31650243d2a94023f17715a9f822fe9dc5b4a74b86e14a4f6"
DATA_SHA256 = "df5841b1f3e41c4055420b2d3f7914bc17c897f83bdd649eb6437e2482ad6496"

A = ("a", Dtype.F16, (2,), "0" * 32)
B = ("b", Dtype.F16, (1, 2), "f" * 32)


def digest_of(kind, *blocks):
    digest = kind()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (FILE_A, FILE_A_SHA256),
        (FILE_A[160:], DATA_SHA256),
    ],
    ids=["nothing", "abc", "file", "data section"],
)
def test_sha256_equals_published_values(data, expected):
    assert sha256(data) == expected
    assert digest_of(Sha256, data[:7], data[7:]) == expected


XXH128SUM = {
    b"": "99aa06d3014798d86001c324468d497f",
    b"abc": "06b05ab6733a618578af5f94892f3950",
    b"hello world": "df8d09e93f874900a99b8775cc15b6c7",
    bytes(range(256)) * 16: "03916578969f7a66eb4b7c3707879151",
    FILE_A: "0bedf2071391d9ac2ec4b80bd2e4e5e3",
}


@pytest.mark.parametrize(("data", "expected"), XXH128SUM.items(), ids=range(5))
def test_xxh3_128_equals_what_xxh128sum_prints(data, expected):
    assert xxh3_128(data) == expected
    assert digest_of(Xxh3Bits128, data[:7], data[7:]) == expected


XXH3SUM = {
    b"": "2d06800538d394c2",
    b"abc": "78af5f94892f3950",
    bytes(range(256)) * 16: "eb4b7c3707879151",
}


@pytest.mark.parametrize(("data", "expected"), XXH3SUM.items(), ids=range(3))
def test_xxh3_64_equals_what_xxhsum_prints(data, expected):
    assert xxh3_64(data) == expected


@pytest.mark.parametrize("kind", [Sha256, Xxh3Bits128])
def test_stream_may_go_on_after_its_digest_was_asked(kind):
    digest = kind()
    digest.update(b"ab")
    first = digest.hexdigest()
    digest.update(memoryview(b"c"))

    assert first == digest_of(kind, b"ab")
    assert digest.hexdigest() == digest_of(kind, b"abc")


def test_copy_of_a_sha256_goes_its_own_way():
    digest = Sha256()
    digest.update(b"ab")
    twin = digest.copy()
    twin.update(b"c")

    assert digest.hexdigest() == digest_of(Sha256, b"ab")
    assert twin.hexdigest() == digest_of(Sha256, b"abc")


@pytest.mark.parametrize(
    "nbytes",
    [0, 1, CHUNK_NBYTES - 1, CHUNK_NBYTES, CHUNK_NBYTES + 1, 3 * CHUNK_NBYTES],
)
@pytest.mark.parametrize("step", [300_001, CHUNK_NBYTES, 5 * CHUNK_NBYTES])
def test_chunks_are_digested_one_by_one_however_the_stream_is_cut(nbytes, step):
    data = random.Random(nbytes).randbytes(nbytes)  # noqa: S311
    digest = Xxh3Bits64Chunks()

    for at in range(0, nbytes, step):
        digest.update(data[at : at + step])

    expected = tuple(
        xxh3_64(data[at : at + CHUNK_NBYTES]) for at in range(0, nbytes, CHUNK_NBYTES)
    )
    assert digest.hexdigests() == expected


def test_civitai_short_forms_are_the_first_digits_in_upper_case():
    assert autov2(FILE_A_SHA256) == "EA017327CD"
    assert autov2(FILE_A_SHA256.upper()) == "EA017327CD"
    assert autov3(DATA_SHA256) == "DF5841B1F3E4"


@pytest.mark.parametrize("text", ["", "ab", "0x" + "0" * 62, "g" * 64, "0" * 65])
@pytest.mark.parametrize("short_form", [autov2, autov3])
def test_short_form_of_something_else_is_refused(short_form, text):
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        short_form(text)


def test_tensor_set_digest_is_the_xxh3_of_its_canonical_lines():
    name = ("ü", Dtype.I64, (), "0123456789ABCDEF" * 2)
    lines = (
        b'["a","F16",[2],"' + b"0" * 32 + b'"]\n'
        b'["b","F16",[1,2],"' + b"f" * 32 + b'"]\n'
        b'["\\u00fc","I64",[],"' + b"0123456789abcdef" * 2 + b'"]\n'
    )

    assert tensor_set_digest([name, B, A]) == xxh3_128(lines)


def test_tensor_set_digest_does_not_depend_on_order():
    assert tensor_set_digest([A, B]) == tensor_set_digest(iter([B, A]))


@pytest.mark.parametrize(
    "other",
    [
        ("c", Dtype.F16, (2,), "0" * 32),
        ("a", Dtype.BF16, (2,), "0" * 32),
        ("a", Dtype.F16, (1, 2), "0" * 32),
        ("a", Dtype.F16, (2,), "1" + "0" * 31),
    ],
    ids=["name", "dtype", "shape", "data"],
)
def test_tensor_set_digest_depends_on_every_field(other):
    assert tensor_set_digest([A, B]) != tensor_set_digest([other, B])


def test_tensor_set_with_a_name_twice_is_refused():
    with pytest.raises(ValueError, match="twice"):
        tensor_set_digest([A, A])
