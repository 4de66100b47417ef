"""`krelease inspect` as people and scripts see it."""

import json
import math
import struct

import pytest
import safetensors.torch
import torch

from release.architecture.sdxl import sdxl_tensors
from release.formats.input import InputFile

UNET = "model.diffusion_model."


@pytest.fixture
def private(tmp_path):
    path = tmp_path / "mine.safetensors"
    metadata = {
        "prompt": "a secret wish",
        "modelspec.title": "A \u202ehostile\x1b[31m title",
        "notes": "n" * 500,
    }
    safetensors.torch.save_file({"lora_unet_x.lora_up.weight": torch.ones(2)}, path)
    size = struct.unpack("<Q", path.read_bytes()[:8])[0]
    header = json.loads(path.read_bytes()[8 : 8 + size]) | {"__metadata__": metadata}
    text = json.dumps(header).encode()
    path.write_bytes(
        len(text).to_bytes(8, "little") + text + path.read_bytes()[8 + size :]
    )
    return path


def test_people_read_what_it_is_in_the_first_line(krelease, ingredients):
    code, out, err = krelease("inspect", ingredients["beta7"])

    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == f"{ingredients['beta7']}: SDXL all-in-one checkpoint"
    assert [line.split("  ")[0] for line in lines if "F16" in line] == [
        "U-Net",
        "text encoder CLIP-L",
        "text encoder CLIP-G",
        "VAE",
    ]
    assert "  stand-in: random values for rehearsals, not a model" in lines
    assert [line.split()[1] for line in lines if line.startswith("  --to ")] == [
        "fp8",
        "fp8-scaled",
    ]


def test_json_says_the_same(krelease, ingredients):
    code, out, err = krelease("inspect", ingredients["beta7"], "--json")

    document = json.loads(out)
    assert (code, err) == (0, "")
    assert document["schema"] == "krelease.inspect/1"
    assert document["architecture"] == "sdxl"
    assert document["contents"] == "all-in-one"
    assert document["n_tensors"] == 2515
    assert [part["part"] for part in document["parts"]] == [
        "unet",
        "clip_l",
        "clip_g",
        "vae",
    ]
    assert document["parts"][1]["dtypes"] == {"F16": 196, "I64": 1}
    assert document["nbytes"] == ingredients["beta7"].stat().st_size
    assert document["layout"] is None
    assert document["position_ids"][0]["is_right"] is True
    assert document["advice"][0]["to"] == "fp8"


def test_quiet_is_one_line(krelease, ingredients):
    assert krelease("inspect", ingredients["beta7"], "--quiet") == (
        0,
        "SDXL all-in-one checkpoint\n",
        "",
    )


def test_private_values_are_hidden_from_people_and_scripts(krelease, private):
    _, text, _ = krelease("inspect", private)
    _, out, _ = krelease("inspect", private, "--json")

    entries = {entry["key"]: entry for entry in json.loads(out)["metadata"]}
    assert "secret" not in text + out
    assert "(hidden: a workflow with its prompts)" in text
    assert entries["prompt"]["value"] is None
    assert entries["prompt"]["n_characters"] == len("a secret wish")
    assert "private-metadata" in text


def test_metadata_option_shows_everything_whole(krelease, private):
    _, text, _ = krelease("inspect", private, "--metadata")
    _, out, _ = krelease("inspect", private, "--metadata", "--json")

    entries = {entry["key"]: entry for entry in json.loads(out)["metadata"]}
    assert "  prompt: a secret wish" in text.splitlines()
    assert "n" * 500 in text
    assert entries["prompt"]["value"] == "a secret wish"
    assert entries["notes"]["value"] == "n" * 500


@pytest.mark.parametrize("option", [[], ["--metadata"]])
def test_hostile_text_cannot_turn_or_colour_the_line(krelease, private, option):
    _, out, _ = krelease("inspect", private, *option)

    assert "\u202e" not in out
    assert "\x1b" not in out
    assert r"\u202ehostile" in out


def test_long_values_are_cut_for_people_only(krelease, private):
    _, text, _ = krelease("inspect", private)
    _, out, _ = krelease("inspect", private, "--json")

    entries = {entry["key"]: entry for entry in json.loads(out)["metadata"]}
    assert "n" * 60 + "… (440 more)" in text
    assert entries["notes"]["value"] == "n" * 500
    assert entries["modelspec.title"]["value"] == "A \u202ehostile\x1b[31m title"
    assert out.isascii()


def test_json_has_the_fields_that_it_always_had(krelease, ingredients):
    _, out, _ = krelease("inspect", ingredients["beta7"], "--json")

    document = json.loads(out)
    assert document["parts"][0].keys() == {
        "part",
        "n_tensors",
        "n_parameters",
        "nbytes",
        "nbytes_at_16_bits",
        "dtypes",
    }
    assert document["prediction"].keys() == {"kind", "source", "zero_terminal_snr"}
    assert document["position_ids"][0].keys() == {
        "name",
        "dtype",
        "is_right",
        "detail",
    }
    assert document["advice"][0].keys() == {"to", "nbytes", "reason"}


def test_file_that_is_none_is_refused_with_a_hint(krelease, tmp_path):
    path = tmp_path / "page.safetensors"
    path.write_text("<html>not found</html>")

    code, out, err = krelease("inspect", path, "--json")

    assert code == 4
    assert json.loads(out)["schema"] == "krelease.error/1"
    assert "hint: " in err


@pytest.fixture
def n_read(monkeypatch):
    """The sizes of all readings of files, as they happen."""
    counts, real = [], InputFile.read_into

    def count(file, offset, buffer):
        counts.append(buffer.nbytes)
        real(file, offset, buffer)

    monkeypatch.setattr(InputFile, "read_into", count)
    return counts


def test_full_size_file_is_told_from_its_header_and_a_few_kilobytes(
    krelease, tmp_path, n_read
):
    entries, at = {}, 0
    for entry in sdxl_tensors():
        nbytes = 2 * math.prod(entry.shape)
        entries[entry.name] = {
            "dtype": "F16",
            "shape": entry.shape,
            "data_offsets": [at, at + nbytes],
        }
        at += nbytes
    text = json.dumps(entries).encode()
    path = tmp_path / "full.safetensors"
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)  # sparse: no disk is used

    code, out, _ = krelease("inspect", path)

    assert code == 0
    assert "6.94 GB" in out
    assert "3,468,837,945 parameters" in out
    assert len(text) < sum(n_read) < len(text) + 64 * 2**10
