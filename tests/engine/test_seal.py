"""What a finished file says of itself, and that it was read back."""

import json
from hashlib import sha256  # noqa: TID251 - an oracle of its own

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
import xxhash

from release.errors import WriteError
from release.formats.output import OutputFile
from release.numeric.dtype import Dtype

FP16 = "kohaku-xl-gamma-rev2-fp16.safetensors"
FP8 = "kohaku-xl-gamma-rev2-fp8.safetensors"


def metadata_of(path):
    with safetensors.safe_open(path, "pt") as file:
        return file.metadata()


def header_nbytes(data):
    return 8 + int.from_bytes(data[:8], "little")


def xxh3_128(data):
    return xxhash.xxh3_128_hexdigest(data)


def set_digest(tensors):
    """Return the digest of a tensor set as its definition puts it into words."""
    lines = []
    for name, tensor in sorted(tensors.items()):
        shape = ",".join(str(size) for size in tensor["shape"])
        digest = xxh3_128(tensor["data"])
        lines.append(f'["{name}","{tensor["dtype"]}",[{shape}],"{digest}"]\n')
    return xxh3_128("".join(lines).encode())


def test_both_variants_open_in_the_safetensors_library(release_folder):
    half = safetensors.torch.load_file(release_folder / FP16)
    quarter = safetensors.torch.load_file(release_folder / FP8)

    assert len(half) == len(quarter) == 2515
    assert half.keys() == quarter.keys()
    assert {tensor.dtype for tensor in half.values()} == {torch.float16, torch.int64}
    assert torch.float8_e4m3fn in {tensor.dtype for tensor in quarter.values()}


def test_fp16_opens_in_numpy(release_folder):
    found = safetensors.numpy.load_file(release_folder / FP16)

    assert len(found) == 2515
    assert all(np.isfinite(array).all() for array in found.values())


@pytest.mark.parametrize("name", [FP16, FP8])
def test_metadata_is_exactly_this_and_tells_nothing_of_the_machine(
    release_folder, ingredients, name
):
    data = (release_folder / name).read_bytes()
    tensors = dict(safetensors.deserialize(data))
    found = metadata_of(release_folder / name)
    manifest = json.loads((release_folder / "manifest.json").read_text())

    assert found == {
        "format": "pt",
        "krelease.ingredients": json.dumps(
            {
                ingredient: set_digest(dict(safetensors.deserialize(path.read_bytes())))
                for ingredient, path in sorted(ingredients.items())
            },
            separators=(",", ":"),
        ),
        "krelease.recipe": manifest["recipe"]["canonical"],
        "krelease.recipe_sha256": sha256(
            manifest["recipe"]["canonical"].encode()
        ).hexdigest(),
        "krelease.release": "gamma-rev2",
        "krelease.tensor_set_xxh3_128": set_digest(tensors),
        "krelease.tensors_xxh3_128": "".join(
            xxh3_128(tensors[tensor]["data"]) for tensor in sorted(tensors)
        ),
        "krelease.stand_in": "random values",
        "krelease.variant": {FP16: "fp16", FP8: "fp8"}[name],
        "modelspec.architecture": "stable-diffusion-xl-v1-base",
        "modelspec.author": "KohakuBlueleaf",
        "modelspec.date": "2024-01-28",
        "modelspec.description": "An SDXL anime base model, made for images of one's "
        "own rather than for known characters or styles.",
        "modelspec.hash_sha256": f"0x{sha256(data[header_nbytes(data) :]).hexdigest()}",
        "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
        "modelspec.license": "faipl-1.0-sd",
        "modelspec.merged_from": "Animagine XL 2.0, Animagine XL 3.0, Kohaku-XL base8, "
        "Kohaku-XL beta7",
        "modelspec.prediction_type": "epsilon",
        "modelspec.resolution": "1024x1024",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.title": "Kohaku-XL gamma rev2",
    }


def test_header_is_written_canonically(release_folder):
    data = (release_folder / FP16).read_bytes()
    end = header_nbytes(data)
    header = json.loads(data[8:end])
    metadata = header.pop("__metadata__")
    begins = [entry["data_offsets"][0] for entry in header.values()]

    assert end % 8 == 0
    assert list(metadata) == sorted(metadata)
    assert begins == sorted(begins)
    assert [entry["dtype"] for entry in header.values()] == (["I64"] + 2514 * ["F16"])


def test_data_lies_where_the_safetensors_library_would_put_it(release_folder, tmp_path):
    tensors = safetensors.torch.load_file(release_folder / FP8)
    theirs = tmp_path / "theirs.safetensors"

    safetensors.torch.save_file(tensors, theirs)

    ours, other = (release_folder / FP8).read_bytes(), theirs.read_bytes()
    assert ours[header_nbytes(ours) :] == other[header_nbytes(other) :]


@pytest.fixture
def plan(workshop):
    tensors = {"first": torch.randn(3000), "second": torch.randn(200_000)}
    return workshop.plan({"x": tensors}, {"x": 0.5}, Dtype.F16)


def test_file_begins_with_zeros_until_all_of_it_is_written(workshop, plan):
    heads = []

    def look(_nbytes):
        (part,) = workshop.out.iterdir()
        heads.append(part.read_bytes()[:8])

    workshop.run(plan, advance=look)

    streaming = len(plan.jobs)
    assert heads[:streaming] == streaming * [bytes(8)]
    assert int.from_bytes(heads[-1], "little") == plan.outputs[0].header_nbytes - 8


def spoil(workshop, plan, monkeypatch, offset):
    """Let the disk turn one bit of what is written at `offset`."""
    write_at = OutputFile.write_at

    def faulty(file, begin, data):
        copy = bytearray(memoryview(data).cast("B"))
        if begin <= offset < begin + len(copy):
            copy[offset - begin] ^= 1
        write_at(file, begin, bytes(copy))

    monkeypatch.setattr(OutputFile, "write_at", faulty)
    with pytest.raises(WriteError) as caught:
        workshop.run(plan)
    assert caught.value.code == "read-back"
    assert caught.value.exit_code == 9
    assert list(workshop.out.iterdir()) == []
    return str(caught.value)


@pytest.mark.parametrize("name", ["first", "second"])
@pytest.mark.parametrize("place", ["first byte", "last byte"])
def test_bit_that_turns_on_the_disk_is_found_and_its_tensor_named(
    workshop, plan, monkeypatch, name, place
):
    output = plan.outputs[0]
    (entry,) = (entry for entry in output.entries if entry.name == name)
    at = entry.begin if place == "first byte" else entry.end - 1

    message = spoil(workshop, plan, monkeypatch, output.header_nbytes + at)

    assert f"tensor {name} does not read back" in message


@pytest.mark.parametrize("offset", [0, 20])
def test_bit_that_turns_in_the_header_is_found(workshop, plan, monkeypatch, offset):
    message = spoil(workshop, plan, monkeypatch, offset)

    assert "the header does not read back" in message


def test_digests_of_a_seal_are_those_of_the_file(workshop, plan):
    (report,) = workshop.run(plan).outputs
    data = (workshop.out / "F16.safetensors").read_bytes()
    end = header_nbytes(data)

    assert report.seal.sha256 == sha256(data).hexdigest()
    assert report.seal.data_sha256 == sha256(data[end:]).hexdigest()
    assert report.seal.xxh3_128 == xxh3_128(data)
    assert report.seal.header_xxh3_128 == xxh3_128(data[:end])
    assert report.seal.chunks == xxhash.xxh3_64_hexdigest(data)
