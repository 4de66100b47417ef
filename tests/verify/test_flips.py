"""Ten thousand single bits, each of them found and named."""

import json
import random

import pytest
import safetensors.torch
import torch

from release.claims.beside import claims_beside
from release.convert.options import ConvertOptions
from release.convert.plan import plan_convert
from release.convert.run import convert
from release.convert.source import SourceOptions, open_source
from release.progress import NoProgress
from release.variants.preset import find_preset
from release.verify.verify import verify

N_FLIPS = 10_000
N_TENSORS = 12


@pytest.fixture
def converted(tmp_path):
    """A small checkpoint of many tensors, with the record of its conversion."""
    generator = torch.Generator().manual_seed(8)
    tensors = {
        f"model.diffusion_model.input_blocks.{at}.0.weight": torch.randn(
            at + 1, 160, generator=generator
        )
        for at in range(N_TENSORS)
    }
    safetensors.torch.save_file(tensors, tmp_path / "m.safetensors")
    options = ConvertOptions((find_preset("fp16"),))
    with open_source(tmp_path / "m.safetensors", SourceOptions()) as source:
        plan = plan_convert(source, options)
        convert(plan, tmp_path, threads=1, progress=NoProgress())
    return tmp_path / "m-fp16.safetensors"


def places(path):
    """Return the bytes of the header, and each tensor's first and last byte."""
    data = path.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:begin])
    header.pop("__metadata__")
    return begin, {
        name: range(*(begin + at for at in entry["data_offsets"]))
        for name, entry in header.items()
    }


def test_every_flipped_bit_is_found_and_named(converted):
    claims = claims_beside(converted)
    header_nbytes, tensors = places(converted)
    owner = {at: name for name, where in tensors.items() for at in where}
    nbytes = converted.stat().st_size
    random_bits = random.Random(5)  # noqa: S311
    wrong = []
    with converted.open("r+b", buffering=0) as file:
        for _ in range(N_FLIPS):
            at, bit = random_bits.randrange(nbytes), 1 << random_bits.randrange(8)
            file.seek(at)
            (byte,) = file.read(1)
            file.seek(at)
            file.write(bytes([byte ^ bit]))
            (found,) = verify(
                converted,
                level="xxh3",
                threads=1,
                progress=NoProgress(),
                against=claims,
            ).files
            if at < header_nbytes:
                named = found.verdict == "header edited" or (
                    found.verdict == "damaged"
                    and found.damage.has_header
                    and not found.damage.tensors
                )
            else:
                named = (
                    found.verdict == "damaged"
                    and found.tensors == (owner[at],)
                    and [each.name for each in found.damage.tensors] == [owner[at]]
                    and any(begin <= at < end for begin, end in found.damage.ranges)
                )
            if not named:
                wrong.append((at, bit, found))
            file.seek(at)
            file.write(bytes([byte]))

    assert wrong == []
    assert header_nbytes > 1000
    assert len(tensors) == N_TENSORS
