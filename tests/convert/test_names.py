"""What outputs are called, and where they go."""

import os
from pathlib import Path

import pytest
import torch

PRESETS = ("fp32", "fp16", "bf16", "fp8", "fp8-e5m2", "fp8-scaled")
ALL = [f"--to={name}" for name in PRESETS]

FP16 = {
    "model.safetensors": "model-fp16",
    "model.v1.5.safetensors": "model.v1.5-fp16",
    "v1.5.safetensors": "v1.5-fp16",
    "m.2024.06.01.sft": "m.2024.06.01-fp16",
    "m-fp32.safetensors": "m-fp16",
    "m_bf16.safetensors": "m-fp16",
    "m.fp8.safetensors": "m-fp16",
    "m-fp8_e4m3fn.safetensors": "m-fp16",
    "m-FP8-E5M2.safetensors": "m-fp16",
    "m-fp8_scaled.safetensors": "m-fp16",
    "MODEL.SAFETENSORS": "MODEL-fp16",
    "fp32.safetensors": "fp32-fp16",
    "-fp32.safetensors": "-fp32-fp16",
    "without suffix": "without suffix-fp16",
    "mfp32.safetensors": "mfp32-fp16",
    "模型 é.safetensors": "模型 é-fp16",
    "a.ckpt.safetensors": "a.ckpt-fp16",
    "x-00001-of-00001.safetensors": "x-fp16",
    "x.fp32-00001-of-00001.safetensors": "x-fp16",
}


@pytest.mark.parametrize("name", FP16)
def test_name_keeps_its_dots_and_loses_the_old_dtype(convert, save, name):
    save({"w": torch.ones(3)}, name=name)

    done = convert(f"./{name}", "--to=fp16")

    assert done.path("fp16") == Path(f"{FP16[name]}.safetensors")
    assert done.variant("fp16")["record"] == f"{FP16[name]}.krelease.json"


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".pth", ".bin", ".CKPT"])
def test_name_of_a_pickled_checkpoint(convert, workplace, suffix):
    torch.save({"w": torch.ones(3)}, workplace / f"m.v2-pruned{suffix}")

    done = convert(f"m.v2-pruned{suffix}", "--to=fp16")

    assert done.path("fp16") == Path("m.v2-pruned-fp16.safetensors")


def test_every_preset_has_names_of_its_own(convert, save, sd1, workplace):
    path = save(sd1)

    done = convert(path, *ALL, *ALL, "--shard=1kB", "--out=shards")
    whole = convert(path, *ALL)

    names = [path for paths in done.paths.values() for path in paths]
    names += [each["record"] for each in done.document["variants"]]
    names += [name for each in done.document["variants"] for name in each["indexes"]]
    assert list(done.paths) == list(PRESETS)
    assert len({str(name) for name in names}) == len(names)
    assert sorted(path.name for (path,) in whole.paths.values()) == [
        "model-bf16.safetensors",
        "model-fp16.safetensors",
        "model-fp32.safetensors",
        "model-fp8.safetensors",
        "model-fp8_e5m2.safetensors",
        "model-fp8_scaled.safetensors",
    ]


def test_shards_are_numbered_and_one_that_would_be_alone_is_not(
    convert, save, sd1, workplace
):
    path = save(sd1, name="m.v1.safetensors")

    several = convert(path, "--to=fp32", "--shard=2kB", "--out=a")
    single = convert(path, "--to=fp32", "--shard=5GB", "--out=b")

    n = len(several.paths["fp32"])
    assert [path.name for path in several.paths["fp32"]] == [
        f"m.v1-fp32-{at:05d}-of-{n:05d}.safetensors" for at in range(1, n + 1)
    ]
    assert several.variant("fp32")["indexes"] == ["a/m.v1-fp32.safetensors.index.json"]
    assert single.path("fp32") == Path("b/m.v1-fp32.safetensors")
    assert single.variant("fp32")["indexes"] == []


def test_shards_hold_no_more_than_was_asked_for(convert, save, sd1):
    done = convert(save(sd1), "--to=fp32", "--shard=2 kB")

    assert len(done.paths["fp32"]) > 1
    for path in done.paths["fp32"]:
        content = path.read_bytes()
        nbytes = len(content) - 8 - int.from_bytes(content[:8], "little")
        assert 0 < nbytes <= 2000


@pytest.mark.parametrize(
    ("source", "written"),
    [
        ("pipe", "pipe-fp16.safetensors"),
        ("pipe/", "pipe-fp16.safetensors"),
        ("./pipe", "pipe-fp16.safetensors"),
        ("pipe/.", "pipe-fp16.safetensors"),
        ("pipe/unet/..", "pipe-fp16.safetensors"),
    ],
)
def test_file_of_a_folder_lies_beside_it(convert, pipeline, workplace, source, written):
    convert(source, "--to=fp16")

    assert {path.name for path in workplace.iterdir()} == {
        "pipe",
        written,
        "pipe-fp16.krelease.json",
    }


@pytest.mark.parametrize("options", [[], ["--keep-layout"]], ids=["file", "folder"])
def test_folder_in_which_one_stands_is_left_alone(
    convert, pipeline, workplace, listed, options
):
    before = listed(workplace / pipeline)
    os.chdir(workplace / pipeline)

    convert(".", "--to=fp16", *options)

    assert listed(workplace / pipeline) == before
    assert {path.name for path in workplace.iterdir()} - {"pipe"} == (
        {"pipe-fp16"}
        if options
        else {"pipe-fp16.safetensors", "pipe-fp16.krelease.json"}
    )


def test_tensor_larger_than_a_shard_has_one_of_its_own(convert, save, sd1):
    done = convert(save(sd1), "--to=fp32", "--shard=1")

    assert len(done.paths["fp32"]) == len(sd1)


def test_no_more_files_at_once_than_can_be_open(refused, convert, save):
    path = save({f"t{at}": torch.ones(1) for at in range(260)})

    found = refused(path, "--to=fp16", "--to=bf16", "--shard=1")
    done = convert(path, "--to=fp16", "--shard=20")

    assert (found.exit_code, found.code) == (2, "too-many-files")
    assert "520 files of weights" in found.message
    assert "--shard" in found.hint
    assert len(done.paths["fp16"]) == 26


def test_link_is_written_beside_and_not_what_it_leads_to(convert, save, workplace):
    save({"w": torch.ones(3)}, name="store/blob")
    (workplace / "link.safetensors").symlink_to("store/blob")

    done = convert("link.safetensors", "--to=fp16")

    assert done.path("fp16") == Path("link-fp16.safetensors")
    assert [path.name for path in (workplace / "store").iterdir()] == ["blob"]


def test_folder_for_results_is_made(convert, save):
    done = convert(save({"w": torch.ones(3)}), "--to=fp16", "--out=a/b/c")

    assert done.path("fp16") == Path("a/b/c/model-fp16.safetensors")
    assert done.path("fp16").is_file()
