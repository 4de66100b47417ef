"""A file made to have the xxh3-128 of another: the limits of the quick check."""

import json
import struct
import subprocess

import pytest
import safetensors.torch
import torch

from release.progress import NoProgress
from release.verify.verify import verify

KEYS = (0x396CFEB8, 0x2C81017C)
"""What the low halves of the first lanes of a stream's first two stripes are mixed
with: words of XXH3's secret, at its bytes 0 and 8.

A lane is multiplied by its high half after this mixing, so that a low half equal to the
word makes the product zero, whatever the high half is. What is left of both lanes is
their sum, which stays the same if one grows as the other shrinks.

Source:
    Cyan4973/xxHash, `doc/xxhash_spec.md`, "XXH3 algorithm for long inputs".
"""
STRIPE = 64


def forged(data, begin):
    """Return `data` with other bytes and the same XXH3-128 of what is from `begin`."""
    changed = bytearray(data)
    for lane, step in ((begin, 1 << 20), (begin + STRIPE, -(1 << 20))):
        (high,) = struct.unpack_from("<I", changed, lane + 4)
        struct.pack_into("<I", changed, lane + 4, high + step)
    return bytes(changed)


@pytest.fixture
def pair(tmp_path, krelease):
    """A converted checkpoint and its forgery, each with record and sums beside it."""
    words = torch.full((1024,), 0x3F800000, dtype=torch.int32)
    words[0], words[STRIPE // 4] = KEYS
    path = tmp_path / "m.safetensors"
    safetensors.torch.save_file({"w": words.view(torch.float32)}, path)
    assert krelease("convert", path, "--to", "fp32", "--sha256", "--quiet")[0] == 0
    true = tmp_path / "m-fp32.safetensors"
    data = true.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    true.rename(tmp_path / "true.bak")
    true.write_bytes(forged(data, begin))
    return tmp_path / "true.bak", true


def xxh128_of_tensor(path):
    data = path.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    done = subprocess.run(
        ["xxh128sum", "-"], input=data[begin:], check=True, capture_output=True
    )
    return done.stdout.split()[0]


def check(path, level):
    (file,) = verify(path, level=level, threads=1, progress=NoProgress()).files
    return file


def test_forgery_is_one(pair):
    true, forgery = pair

    assert true.read_bytes() != forgery.read_bytes()
    assert xxh128_of_tensor(true) == xxh128_of_tensor(forgery)


def test_quick_check_passes_and_says_what_that_means(pair, krelease):
    _, forgery = pair

    code, out, _ = krelease("verify", forgery)

    assert code == 0
    assert "finds accidental damage and not deliberate change" in out
    assert "anyone can make another file with the same value" in out
    assert "identity was not checked: --sha256" in out


def test_identity_check_fails(pair, krelease):
    true, forgery = pair

    code, out, err = krelease("verify", forgery, "--sha256", "--json")

    (found,) = json.loads(out)["files"]
    assert code == 5
    assert found["verdict"] == "not what it claims"
    assert "which no accident does" in err
    assert check(true, "sha256").verdict == "intact"


def test_identity_check_by_the_header_alone_fails_too(pair):
    _, forgery = pair
    forgery.with_name("m-fp32.krelease.json").unlink()

    assert check(forgery, "xxh3").verdict == "intact"
    assert check(forgery, "sha256").verdict == "not what it claims"
