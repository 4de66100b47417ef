"""Equal bytes: whatever else is made at once, however many threads there are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

PRESETS = ("fp32", "fp16", "bf16", "fp8", "fp8-e5m2", "fp8-scaled")
ALL = [f"--to={name}" for name in PRESETS]


@pytest.fixture
def mixed(save, sd1):
    """A checkpoint whose largest tensor is several of the engine's chunks."""
    generator = torch.Generator().manual_seed(8)
    large = torch.randn(700, 900, generator=generator) * 0.03
    return save(
        {
            **sd1,
            "model.diffusion_model.middle_block.1.proj_in.weight": large,
            "model.diffusion_model.empty.weight": torch.ones(0, 5),
            "model.diffusion_model.scalar": torch.tensor(0.1),
        },
        {"modelspec.title": "Mixed", "ss_note": "kept"},
    )


@pytest.mark.parametrize("options", [[], ["--shard=200kB"], ["--min-snr=30"]])
def test_several_variants_at_once_are_those_of_single_runs(
    convert, mixed, workplace, listed, options
):
    convert(mixed, *ALL, "--out=together", *options)
    for name in PRESETS:
        convert(mixed, f"--to={name}", "--out=apart", *options)

    together = listed(workplace / "together")
    assert together == listed(workplace / "apart")
    assert sum(name.endswith(".krelease.json") for name in together) == len(PRESETS)


@pytest.mark.parametrize("options", [[], ["--shard=200kB"], ["--min-snr=30"]])
def test_number_of_threads_changes_no_byte(convert, mixed, workplace, listed, options):
    found = []
    for threads in (1, 2, 7):
        out = f"threads-{threads}"
        convert(mixed, *ALL, f"--out={out}", f"--threads={threads}", *options)
        found.append(listed(workplace / out))

    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("source", ["mixed", "pipeline"])
def test_hash_seed_and_umask_change_no_byte(request, workplace, listed, source):
    path = request.getfixturevalue(source)
    options = ["--keep-layout"] if source == "pipeline" else ["--shard=200kB"]
    found = []
    for seed, umask in (("1", 0o022), ("2", 0o077)):
        subprocess.run(
            [
                *(sys.executable, "-m", "release", "convert", path),
                *("--to=fp8-scaled" if source == "mixed" else "--to=fp8", "--to=fp16"),
                *(f"--out=seed-{seed}", "--quiet", *options),
            ],
            check=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
            umask=umask,
            capture_output=True,
        )
        found.append(listed(workplace / f"seed-{seed}"))

    assert found[0] == found[1]
    assert len(found[0]) > 5


def test_what_a_file_lies_under_and_is_called_changes_only_its_name(
    convert, mixed, workplace
):
    (workplace / "elsewhere").mkdir()
    copy = workplace / "elsewhere" / "other name.SAFETENSORS"
    copy.write_bytes((workplace / mixed).read_bytes())

    convert(mixed, "--to=fp8")
    convert(copy, "--to=fp8")

    first = (workplace / "model-fp8.safetensors").read_bytes()
    second = (workplace / "elsewhere" / "other name-fp8.safetensors").read_bytes()
    records = [
        (workplace / "model-fp8.krelease.json").read_text(),
        (workplace / "elsewhere" / "other name-fp8.krelease.json").read_text(),
    ]
    assert first == second
    assert records[0] == records[1].replace("other name-fp8", "model-fp8")


def test_pickled_checkpoint_becomes_what_the_safetensors_one_does(
    convert, save, sd1, workplace, listed
):
    path = save(sd1)
    torch.save({"state_dict": sd1, "epoch": 3}, workplace / "model.ckpt")

    convert(path, *ALL, "--out=safetensors")
    convert("model.ckpt", *ALL, "--out=pickled")

    pickled = listed(workplace / "pickled")
    expected = listed(workplace / "safetensors")
    assert pickled.keys() == expected.keys()
    for name in pickled:
        if name.endswith(".safetensors"):
            assert pickled[name] == expected[name]


def test_shards_become_the_same_file_by_index_and_by_any_shard(
    convert, mixed, workplace, listed
):
    convert(mixed, "--to=fp32", "--shard=500kB")
    shards = sorted(workplace.glob("model-fp32-*.safetensors"))
    sources = ["model-fp32.safetensors.index.json", shards[0].name, shards[-1].name]
    found = []
    for at, source in enumerate(sources):
        convert(source, "--to=bf16", "--to=fp8", f"--out={at}")
        found.append(listed(workplace / str(at)))
    convert(mixed, "--to=bf16", "--to=fp8", "--out=direct")

    assert len(shards) > 1
    assert found[0] == found[1] == found[2]
    assert found[0].keys() == listed(workplace / "direct").keys()
    for name in ("model-bf16.safetensors", "model-fp8.safetensors"):
        direct = safetensors.torch.load_file(workplace / "direct" / name)
        ours = safetensors.torch.load(found[0][name])
        assert direct.keys() == ours.keys()
        assert all(same_bits(direct[key], ours[key]) for key in direct)


def test_scaled_shards_are_read_as_the_scaled_file_is(convert, mixed, workplace):
    convert(mixed, "--to=fp8-scaled")
    convert(mixed, "--to=fp8-scaled", "--shard=300kB", "--out=shards")
    shards = sorted((workplace / "shards").glob("*.safetensors"))

    one = convert("model-fp8_scaled.safetensors", "--to=fp16", "--out=1")
    several = convert(shards[0], "--to=fp16", "--out=2")

    assert len(shards) > 1
    assert data_of(several.path("fp16")) == data_of(one.path("fp16"))
    assert several.document["layout"] == one.document["layout"] == "comfy-scaled"


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_converted_already_is_copied_and_said(
    convert, mixed, workplace, preset
):
    first = convert(mixed, f"--to={preset}", "--out=1").path(preset)
    again = convert(first, f"--to={preset}", "--out=2")

    path = again.path(preset)
    assert data_of(path) == data_of(first)
    cast = again.variant(preset)["total"]["cast"]
    assert all(part["snr_db"] == "inf" for part in cast.values())
    said = f"already {preset}: every tensor is copied as it is"
    assert (said in again.said) == (preset != "fp8-scaled")
    assert path.name == first.name


def test_fp8_becomes_fp8_of_the_other_kind_by_its_values(convert, save):
    codes = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn)
    weight = codes[~torch.isnan(codes.float())].view(2, -1).contiguous()
    name = "model.diffusion_model.out.2.weight"
    path = save({name: weight, "model.diffusion_model.out.2.bias": torch.ones(2)})

    done = convert(path, "--to=fp8-e5m2", "--to=fp8-scaled")

    other = safetensors.torch.load_file(done.path("fp8-e5m2"))[name]
    scaled = safetensors.torch.load_file(done.path("fp8-scaled"))
    assert same_bits(other, weight.float().to(torch.float8_e5m2))
    assert scaled[f"{name}_scale"].item() == 1.0
    assert same_bits(scaled[name], weight)


def same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    return left.dtype == right.dtype and torch.equal(
        left.reshape(-1).view(torch.uint8), right.reshape(-1).view(torch.uint8)
    )


def data_of(path: Path) -> bytes:
    content = path.read_bytes()
    return content[8 + int.from_bytes(content[:8], "little") :]


def test_damaged_source_is_refused_by_its_own_digests(convert, refused, save, sd1):
    first = convert(save(sd1), "--to=fp16", "--out=1").path("fp16")
    data = bytearray(first.read_bytes())
    data[-1] ^= 1
    first.write_bytes(data)

    found = refused(first, "--to=fp8", "--out=2")
    forced = convert(first, "--to=fp8", "--unverified", "--out=3")

    assert (found.exit_code, found.code) == (5, "source-damaged")
    assert forced.path("fp8").is_file()


def test_preset_that_reaches_no_tensor_is_told(convert, save):
    path = save({"norm.weight": torch.ones(8)})

    done = convert(path, "--to=fp8")

    assert "fp8: no tensor of this file becomes fp8" in done.said
    assert "already" not in done.said
