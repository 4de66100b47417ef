"""Seeded mutants against the safetensors library as the oracle."""

import json
import os
import random
import struct
from pathlib import Path

import pytest
import safetensors

from release.errors import ReleaseError
from release.formats.header import read_header
from release.formats.input import InputFile

N_MUTANTS = 20_000

SEEDS = [
    ({"a": ("F32", [1], [0, 4])}, 4),
    ({"__metadata__": {"k": "v"}, "a": ("F16", [2], [0, 4])}, 4),
    (
        {
            "__metadata__": {"format": "pt", "x": "é"},
            "b": ("F16", [1, 2], [4, 8]),
            "a": ("U8", [0, 3], [4, 4]),
            "c": ("BF16", [2], [0, 4]),
        },
        8,
    ),
    ({"x": ("F4", [2], [0, 1]), "y": ("BOOL", [], [1, 2])}, 2),
]
TOKENS = [
    b'"', b"{", b"}", b"[", b"]", b",", b":", b"0", b"1", b"4", b"8", b"-", b"-0",
    b"1e1", b"1.0", b"null", b"true", b"NaN", b"Infinity", b" ", b"\n", b"\t", b"\0",
    b"\xff", b"\xc3\xa9", b"\\u0061", b"\\ud800", b"\\u0000", b"\\", b'"F32"', b'"U8"',
    b'"F4"', b'"F128"', b'"a"', b'"b"', b'"dtype"', b'"shape"', b'"__metadata__":{},',
    b'"z":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},', b"18446744073709551615",
    b"18446744073709551616", b"9223372036854775808", b"4294967296", b"[[[[", b"{}",
    b'"q":1,', b"[0,0]", b"1e400", b"/**/", b"\xef\xbb\xbf", b"\x0c",
]  # fmt: skip


def seed_parts(rng):
    members, n_data = rng.choice(SEEDS)
    spelled = {
        name: value
        if isinstance(value, dict)
        else dict(zip(("dtype", "shape", "data_offsets"), value, strict=True))
        for name, value in members.items()
    }
    text = json.dumps(spelled, ensure_ascii=rng.random() < 0.5)
    return bytearray(text.encode()), bytearray(rng.randbytes(n_data))


def mutate_header(rng, body):
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        begin = rng.randrange(len(body) + 1)
        end = min(len(body), begin + rng.choice((0, 0, 1, 1, 2, 5)))
        replacement = rng.choice((b"", *TOKENS, *TOKENS))
        body[begin:end] = replacement


def mutate_digit(rng, body):
    digits = [i for i, byte in enumerate(body) if 48 <= byte <= 57]
    if digits and rng.random() < 0.3:
        body[rng.choice(digits)] = 48 + rng.randrange(10)


def mutant(rng):
    body, data = seed_parts(rng)
    mutate_digit(rng, body)
    mutate_header(rng, body)
    length = len(body) + rng.choice((0, 0, 0, 0, 0, 0, 0, -1, 1, 8))
    content = struct.pack("<Q", max(length, 0)) + body + data
    change = rng.random()
    if change < 0.05:
        return content[: rng.randrange(len(content))]
    if change < 0.1:
        return content + rng.randbytes(rng.randrange(1, 4))
    return content


def oracle(content):
    """Return what the library reads, None where it refuses."""
    try:
        tensors = safetensors.deserialize(content)
    except safetensors.SafetensorError:
        return None
    return {
        name: (view["dtype"], tuple(view["shape"]), bytes(view["data"]))
        for name, view in tensors
    }


def ours(path):
    """Return what we read, None where we refuse with an error of our own."""
    try:
        with InputFile(path) as file:
            header = read_header(file)
            return {
                entry.name: (
                    entry.dtype.code,
                    entry.shape,
                    file.read(header.nbytes + entry.begin, entry.nbytes),
                )
                for entry in header.tensors
            }
    except ReleaseError:
        return None


def rewrite(descriptor, content):
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, content, 0)


def verdicts(contents):
    """Yield every file with both verdicts; it lives in memory to spare the disk."""
    descriptor = os.memfd_create("mutant")
    path = Path(f"/proc/self/fd/{descriptor}")
    try:
        for content in contents:
            rewrite(descriptor, content)
            yield content, oracle(content), ours(path)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("seed", [20251, 7])
def test_mutant_is_never_accepted_where_the_library_refuses_or_differs(seed):
    rng = random.Random(seed)  # noqa: S311
    contents = [mutant(rng) for _ in range(N_MUTANTS // 2)]

    results = list(verdicts(contents))

    wrong = [content for content, theirs, own in results if own not in (None, theirs)]
    assert wrong == []
    both = sum(own is not None for _, _, own in results)
    stricter = sum(own is None and theirs is not None for _, theirs, own in results)
    assert both > N_MUTANTS // 40
    assert stricter < both // 5
