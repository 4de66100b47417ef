"""A plan says what the run then does, to the byte, and writes nothing."""

import json
from pathlib import Path

import pytest
import torch

PRESETS = ("fp32", "fp16", "bf16", "fp8", "fp8-e5m2", "fp8-scaled")
SUM_KEYS = {"max_abs_error", "snr_db", "clamped", "flushed", "n_tensors", "n_elements"}


@pytest.fixture
def sources(save, sd1, workplace, pipeline):
    """The same kind of model in every form that is read."""
    save(sd1)
    torch.save(sd1, workplace / "pickled.ckpt")
    return {
        "file": ["model.safetensors"],
        "shards": ["model.safetensors", "--shard=1kB"],
        "own shards": ["model.safetensors", "--shard=1"],
        "pickle": ["pickled.ckpt"],
        "folder": [pipeline],
        "kept folder": [pipeline, "--keep-layout"],
        "kept tensors": ["model.safetensors", "--min-snr=31.5"],
    }


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    "form",
    [
        "file",
        "shards",
        "own shards",
        "pickle",
        "folder",
        "kept folder",
        "kept tensors",
    ],
)
def test_plan_is_exact_and_writes_nothing(
    convert, sources, workplace, listed, form, preset
):
    arguments = [*sources[form], f"--to={preset}", "--out=new"]
    before = listed(workplace)

    plan = convert(*arguments, "--dry-run")

    assert listed(workplace) == before
    done = convert(*arguments)
    planned, written = plan.variant(preset), done.variant(preset)
    sizes = {file["path"]: file["nbytes"] for file in planned["files"]}
    assert sizes == {
        str(path.relative_to(workplace)): path.stat().st_size
        for path in workplace.glob("new/**/*.safetensors")
    }
    assert sizes == {file["path"]: file["nbytes"] for file in written["files"]}
    assert planned["indexes"] == written["indexes"]
    assert planned["record"] == written["record"]
    assert planned["kept"] == written["kept"]


def test_plan_names_every_tensor_with_its_dtype_and_reason(convert, save, sd1):
    plan = convert(save(sd1), "--to=fp8-scaled", "--dry-run").variant("fp8-scaled")

    tensors = plan["tensors"]
    assert tensors.keys() == sd1.keys()
    assert all(each["reason"] for each in tensors.values())
    assert tensors["model.diffusion_model.input_blocks.1.1.proj_in.weight"] == {
        "dtype": "F8_E4M3",
        "scaled": True,
        "nbytes": 64 + 4 + 63,
        "reason": "Linear weights: a scale each uses the whole range of fp8",
    }
    positions = tensors[
        "cond_stage_model.transformer.text_model.embeddings.position_ids"
    ]
    assert (positions["dtype"], positions["nbytes"]) == ("I64", 77 * 8)


def test_plan_says_how_much_room_is_needed_and_there(convert, save, sd1):
    plan = convert(save(sd1), "--to=fp16", "--to=fp8", "--dry-run").document

    written = sum(file["nbytes"] for each in plan["variants"] for file in each["files"])
    assert plan["needed_nbytes"] > written
    assert plan["free_nbytes"] > 0
    assert plan["schema"] == "krelease.convert-plan/1"


@pytest.mark.parametrize(
    "name", ["model-fp8.safetensors", "model-fp8.krelease.json", "new"]
)
def test_plan_says_what_is_there_already(krelease, save, sd1, workplace, name):
    save(sd1)
    (workplace / name).touch()

    code, out, _ = krelease("convert", "model.safetensors", "--to=fp8", "--dry-run")

    assert code == 0
    said = f"Note: {name} already exists; pass --force to replace it"
    assert (said in out.splitlines()) == (name != "new")


def test_plan_for_people_has_sizes_dtypes_and_reasons(krelease, save, sd1):
    save(sd1)

    _, out, _ = krelease("convert", "model.safetensors", "--to=fp8", "--dry-run")

    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0].startswith("model-fp8.safetensors ")
    assert any(
        line.startswith("unet 4 F32 -> F8_E4M3 ") and "Linear and Conv2d" in line
        for line in lines
    )
    assert "clip_l 1 I64 -> I64 616 B position ids are indices" in lines
    assert lines[-1].startswith("Disk: needs ")


def test_document_of_a_run_has_its_files_and_figures(convert, save, sd1, workplace):
    done = convert(save(sd1), "--to=fp16", "--to=fp8", "--sha256", "--shard=1kB")

    document = done.document
    assert document["schema"] == "krelease.convert/1"
    assert document["source"] == "model.safetensors"
    assert (document["architecture"], document["layout"]) == ("sd1", "plain")
    assert (document["notes"], document["warnings"]) == ([], [])
    assert [each["variant"] for each in document["variants"]] == ["fp16", "fp8"]
    for each in document["variants"]:
        assert each["components"].keys() == {"clip_l", "unet", "vae"}
        for figures in (each["total"], *each["components"].values()):
            assert figures.keys() == {"nbytes_before", "nbytes_after", "cast"}
            assert all(part.keys() > SUM_KEYS for part in figures["cast"].values())
        paths = [file["path"] for file in each["files"]]
        assert all(Path(path).is_file() for path in (*paths, each["record"]))
        (index,) = each["indexes"]
        listed = json.loads(Path(index).read_text())["weight_map"]
        assert {str(Path(index).with_name(name)) for name in listed.values()} == set(
            paths
        )
        assert each["total"]["nbytes_after"] == sum(
            file["nbytes"] - 8 - header_nbytes(file["path"]) for file in each["files"]
        )


def header_nbytes(path: str) -> int:
    with Path(path).open("rb") as file:
        return int.from_bytes(file.read(8), "little")


def test_quiet_prints_paths_and_nothing_else(krelease, save, sd1):
    save(sd1, {"prompt": "{}"})

    plan = krelease("convert", "model.safetensors", "--to=fp8", "-q", "--dry-run")
    done = krelease("convert", "model.safetensors", "--to=fp8", "--to=fp16", "-q")

    assert plan == (0, "model-fp8.safetensors\n", "")
    assert done == (0, "model-fp8.safetensors\nmodel-fp16.safetensors\n", "")


def test_table_for_people_has_every_component_and_the_worst_tensors(
    krelease, save, sd1
):
    save(sd1)

    code, out, err = krelease("convert", "model.safetensors", "--to=fp8", "--sha256")
    record = json.loads(Path("model-fp8.krelease.json").read_text())

    lines = [line.split() for line in out.splitlines()]
    worst = record["worst"]
    assert code == 0
    assert lines[0][0] == "model-fp8.safetensors"
    assert [line[0] for line in lines] == [
        "model-fp8.safetensors",
        "sha256",
        "before",
        "clip_l",
        "unet",
        "F16",  # beside the fp8 in the line above
        "vae",
        "total",
        "F16",
        "worst",
        *(each["name"] for each in worst),
        "weights",
        "record",
    ]
    assert err.startswith("convert: ")


@pytest.mark.parametrize("options", [[], ["--dry-run"], ["--quiet"]])
def test_hostile_file_name_cannot_write_to_the_terminal(krelease, save, options):
    path = save({"w": torch.ones(3)}, name="m\x1b[2J\u202e.safetensors")

    code, out, err = krelease("convert", path, "--to=fp16", *options)

    assert code == 0
    assert "m\\u001b[2J\\u202e-fp16.safetensors" in out
    assert (out + err).replace("\n", "").isprintable()


def test_hostile_tensor_name_cannot_write_to_the_terminal(krelease, save):
    name = "model.diffusion_model.\x1b]0;owned\x07\x1b[2J\n\u202egnp.weight"
    save({name: torch.linspace(-1, 1, 64).view(8, 8)})

    for options in ([], ["--dry-run"], ["--min-snr=99"], ["--fail-below=99"]):
        _, out, err = krelease("convert", "model.safetensors", "--to=fp8", *options)

        printed = (out + err).replace("\n", "")
        assert printed.isprintable()
        assert "owned" in printed or options == ["--dry-run"]
        for path in Path().glob("model-*"):
            path.unlink()
