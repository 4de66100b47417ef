"""Metadata: what is kept, what is dropped and said, what is true afterwards."""

import hashlib  # noqa: TID251  # an oracle that is not our code
import json
from pathlib import Path

import pytest
import safetensors
import torch

PRESETS = ("fp32", "fp16", "bf16", "fp8", "fp8-e5m2", "fp8-scaled")

PRIVATE = {
    "prompt": '{"3": {"class_type": "KSampler", "inputs": {}}}',
    "workflow": '{"nodes": [], "links": []}',
    "ss_output": "C:\\\\Users\\\\mallory\\\\model",
    "notes": "made in /home/mallory/models/",
    "nested": json.dumps({"a": [json.dumps({"b": "/Users/mallory/x"})]}),
}


def metadata_of(path: Path) -> dict[str, str]:
    with safetensors.safe_open(path, "pt") as file:
        return file.metadata()


def test_private_metadata_is_dropped_with_a_notice_naming_the_key(convert, save, sd1):
    path = save(sd1, {**PRIVATE, "modelspec.author": "A. Uthor"})

    done = convert(path, "--to=fp16", "--to=fp8")

    for name in ("fp16", "fp8"):
        written = metadata_of(done.path(name))
        assert written["modelspec.author"] == "A. Uthor"
        assert not PRIVATE.keys() & written.keys()
        assert "mallory" not in done.path(name).read_bytes().decode("latin-1")
    for key in PRIVATE:
        assert f"metadata dropped: {key} (" in done.said
    assert "mallory" not in done.said
    assert done.document["dropped_metadata"].keys() >= PRIVATE.keys()


def test_private_metadata_is_kept_when_that_is_asked_for(convert, save, sd1):
    path = save(sd1, PRIVATE)

    done = convert(path, "--to=fp16", "--keep-private")

    assert metadata_of(done.path("fp16")).items() >= PRIVATE.items()
    assert "metadata dropped" not in done.said


def test_what_no_longer_holds_is_dropped(convert, save, sd1):
    outdated = {
        "sshs_model_hash": "a" * 64,
        "modelspec.hash_md5": "0x1",
        "krelease.release": "gamma-rev2",
        "dtype": "float32",
    }
    path = save(sd1, {**outdated, "ss_network": "kept"})

    done = convert(path, "--to=fp16")

    written = metadata_of(done.path("fp16"))
    assert not outdated.keys() & written.keys()
    assert written["ss_network"] == "kept"
    assert done.document["dropped_metadata"] == dict.fromkeys(
        sorted(outdated), "no longer holds"
    )


def test_control_characters_in_a_key_do_not_reach_the_terminal(krelease, save, sd1):
    key = "note\x1b[2J\u202e"
    path = save(sd1, {key: "/home/somebody/x"})

    _, _, err = krelease("convert", path, "--to=fp16")

    assert "metadata dropped: note\\u001b[2J\\u202e (" in err


@pytest.mark.parametrize("options", [[], ["--shard=1kB"]], ids=["file", "shards"])
@pytest.mark.parametrize("preset", PRESETS)
def test_hash_of_the_data_is_true_and_every_file_verifies(
    krelease, convert, save, sd1, preset, options
):
    path = save(sd1, {"modelspec.hash_sha256": "0x" + "1" * 64})

    done = convert(path, f"--to={preset}", *options)

    for file in done.paths[preset]:
        content = file.read_bytes()
        begin = 8 + int.from_bytes(content[:8], "little")
        digest = hashlib.sha256(content[begin:]).hexdigest()
        assert metadata_of(file)["modelspec.hash_sha256"] == f"0x{digest}"
        assert metadata_of(file)["krelease.variant"] == preset
        code, out, err = krelease("verify", file, "--sha256")
        assert code == 0, err
        assert out.startswith("intact ")


def test_damage_in_an_output_is_found_by_verify(krelease, convert, save, sd1):
    path = convert(save(sd1), "--to=fp8").path("fp8")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    code, out, _ = krelease("verify", path)

    assert code == 5
    assert out.startswith("damaged ")


def test_sha256_of_the_document_is_that_of_the_file(convert, save, sd1):
    done = convert(save(sd1), "--to=fp16", "--sha256")

    (file,) = done.variant("fp16")["files"]
    digest = hashlib.sha256(Path(file["path"]).read_bytes()).hexdigest()
    assert file["sha256"] == digest
    assert file["autov2"] == digest[:10].upper()


def test_without_being_asked_no_sha256_is_claimed(convert, save, sd1):
    (file,) = convert(save(sd1), "--to=fp16").variant("fp16")["files"]

    assert (file["sha256"], file["autov2"]) == (None, None)


@pytest.mark.parametrize("options", [[], ["--keep-layout"]], ids=["file", "folder"])
def test_every_file_of_a_folder_verifies(krelease, convert, pipeline, options):
    done = convert(pipeline, "--to=fp8", "--to=fp16", *options)

    files = [path for paths in done.paths.values() for path in paths]
    assert len(files) == (6 if options else 2)
    for file in files:
        assert krelease("verify", file, "--sha256")[0] == 0


def test_modelspec_of_sdxl_is_filled(krelease, convert, ingredients):
    done = convert(ingredients["beta7"], "--to=fp8", "--out=.")

    written = metadata_of(done.path("fp8"))
    assert written["modelspec.architecture"] == "stable-diffusion-xl-v1-base"
    assert written["modelspec.title"] == "beta7"
    assert krelease("verify", done.path("fp8"), "--sha256")[0] == 0


def test_scaled_layout_is_said_in_the_header_and_not_after_it_is_gone(
    convert, save, sd1
):
    scaled = convert(save(sd1), "--to=fp8-scaled").path("fp8-scaled")

    back = convert(scaled, "--to=fp16").path("fp16")

    key = "_quantization_metadata"
    layers = json.loads(metadata_of(scaled)[key])["layers"]
    assert list(layers) == ["model.diffusion_model.input_blocks.1.1.proj_in"]
    assert key not in metadata_of(back)
    with safetensors.safe_open(back, "pt") as file:
        assert set(file.keys()) == sd1.keys()
        assert file.get_tensor("model.diffusion_model.out.0.weight").dtype == (
            torch.float16
        )
