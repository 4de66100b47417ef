"""Bad input: one line that says what, a hint, the exit code, and nothing written."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from release.formats import space

Arguments = Callable[[], list[object]]


@dataclass(frozen=True)
class Bad:
    """A command line, and what must be said to it."""

    exit_code: int
    message: str
    hint: str
    arguments: list[str]


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """An empty folder to stand in, and no way to a Hub."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("release.hub.client.WAITS_SECONDS", ())
    monkeypatch.delenv("KRELEASE_THREADS", raising=False)
    return tmp_path


@pytest.fixture
def refused(krelease, listing, workplace):
    """Run a command that must fail: exit code, message and hint; nothing changes."""

    def run(*args: object) -> tuple[int, str, str]:
        before = listing(workplace)
        code, out, err = krelease(*args)
        assert out == ""
        assert listing(workplace) == before
        *notes, error, hint = err.splitlines()
        assert error.startswith("error: ")
        assert hint.startswith("hint: ")
        assert not any("Traceback" in note for note in notes)
        return code, error.removeprefix("error: "), hint.removeprefix("hint: ")

    return run


@pytest.fixture
def sd15(workplace: Path) -> Path:
    """A few tensors as a Stable Diffusion 1.5 checkpoint has them."""
    path = workplace / "sd15.safetensors"
    block = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2"
    text = "cond_stage_model.transformer.text_model.encoder.layers.0"
    tensors = {
        f"{block}.to_k.weight": np.zeros((320, 768), np.float16),
        f"{text}.self_attn.q_proj.weight": np.zeros((768, 768), np.float16),
        "first_stage_model.encoder.conv_in.weight": np.zeros((4, 3, 3, 3), np.float16),
    }
    save_file(tensors, path)
    return path


@pytest.mark.parametrize(
    "bad",
    [
        Bad(
            3, "unknown release 'gama-rev2'", "did you mean gamma-rev2?", ["gama-rev2"]
        ),
        Bad(3, "unknown release 'zzz'", "krelease releases lists them", ["zzz"]),
        Bad(2, "name a release, or a file", "lists the catalog", []),
        Bad(
            2,
            "one of the two",
            "lists the catalog",
            ["gamma-rev2", "--definition", "x.toml"],
        ),
        Bad(3, "x.toml: is not a file", "TOML", ["--definition", "x.toml"]),
        Bad(
            2,
            "--ingredient beta7: expected NAME=PATH",
            "--ingredient beta7=models/",
            ["gamma-rev2", "-i", "beta7"],
        ),
        Bad(
            2,
            "--ingredient =x: expected NAME=PATH",
            "for example",
            ["gamma-rev2", "-i", "=x"],
        ),
        Bad(
            2,
            "--ingredient beta7: given twice",
            "leave one",
            ["gamma-rev2", "-i", "beta7=a", "-i", "beta7=b"],
        ),
        Bad(
            2,
            "--ingredient beta8: the recipe of gamma-rev2 has no such ingredient",
            "did you mean beta7?",
            ["gamma-rev2", "-i", "beta8=x"],
        ),
        Bad(
            4,
            "no-such.safetensors: not found",
            "spelling",
            ["gamma-rev2", "-i", "beta7=no-such.safetensors"],
        ),
        Bad(
            2,
            "'--threads'",
            "krelease build --help",
            ["gamma-rev2", "--threads", "0"],
        ),
        Bad(
            2,
            "no such option: --thread",
            "krelease build --help",
            ["gamma-rev2", "--thread", "2"],
        ),
    ],
    ids=lambda bad: " ".join(bad.arguments) or "nothing",
)
@pytest.mark.parametrize("command", ["build", "publish"])
def test_impossible_command_line_is_refused(refused, command, bad):
    code, message, hint = refused(command, *bad.arguments)

    assert code == bad.exit_code
    assert bad.message in message
    assert bad.hint.replace("krelease build", f"krelease {command}") in hint


def test_unknown_command_is_refused_with_the_near_one(refused):
    code, message, hint = refused("bulid")

    assert (code, hint) == (2, "krelease --help shows what is allowed")
    assert "'bulid'" in message
    assert "'build'" in message


@pytest.mark.parametrize("command", ["build", "publish"])
def test_missing_ingredient_is_named_with_what_to_pass(refused, define, command):
    define("own")

    code, message, hint = refused(command, "own")

    assert code == 3
    assert "base8 (Kohaku-XL base8)" in message
    assert "--ingredient base8=PATH" in hint


def test_ingredient_with_another_digest_is_refused(refused, define, ingredients):
    define("own", paths=ingredients, sha256={"base8": "0" * 64})

    code, message, hint = refused("build", "own")

    assert code == 5
    assert "ingredient base8 has SHA-256 " in message
    assert f"expected {'0' * 64}" in message
    assert "download it again" in hint


def test_truncated_ingredient_is_refused(refused, given, ingredients, workplace):
    cut = workplace / "cut.safetensors"
    cut.write_bytes(ingredients["beta7"].read_bytes()[:-1000])

    code, message, _ = refused("build", "gamma-rev2", *given[:3], f"-ibeta7={cut}")

    assert code == 4
    assert str(cut) in message


def test_sd15_checkpoint_as_sdxl_is_refused(refused, given, sd15):
    code, message, hint = refused("build", "gamma-rev2", *given[:3], f"-ibeta7={sd15}")

    assert code == 4
    assert str(sd15) in message
    assert "SDXL" in message + hint


@pytest.mark.parametrize("command", ["build", "convert"])
def test_full_disk_is_known_before_anything_is_read(
    refused, given, ingredients, monkeypatch, command
):
    nearly_full = os.statvfs_result((4096, 4096, 999, 99, 99, 9, 9, 9, 0, 255))
    monkeypatch.setattr(space.os, "statvfs", lambda _: nearly_full)
    arguments = {
        "build": ["gamma-rev2", *given],
        "convert": [ingredients["beta7"], "--to", "fp8", "--out", "new/folder"],
    }

    code, message, hint = refused(command, *arguments[command])

    assert code == 9
    assert f"{99 * 4096:,} are free" in message
    assert "another disk" in hint


def test_build_onto_a_release_is_refused(refused, given, release_folder, workplace):
    target = workplace / "gamma-rev2"
    target.mkdir()
    (target / "manifest.json").write_bytes(
        (release_folder / "manifest.json").read_bytes()
    )

    code, message, hint = refused("build", "gamma-rev2", *given)

    assert (code, message) == (9, "gamma-rev2: already exists")
    assert "--force" in hint


@pytest.mark.parametrize("options", [[], ["--force"]])
def test_build_into_a_foreign_folder_is_refused(refused, given, workplace, options):
    (workplace / "holiday").mkdir()
    (workplace / "holiday" / "photo.jpg").write_bytes(b"irreplaceable")

    code, message, hint = refused(
        "build", "gamma-rev2", *given, "--out", "holiday", *options
    )

    assert code == 9
    assert "holiday: is a folder with other files in it" in message
    assert "--out" in hint


def test_convert_onto_an_existing_file_is_refused(refused, ingredients, workplace):
    (workplace / "beta7-fp8.safetensors").write_bytes(b"mine")

    code, message, hint = refused(
        "convert", ingredients["beta7"], "--to", "fp8", "--out", "."
    )

    assert code == 9
    assert "beta7-fp8.safetensors: already exists" in message
    assert "--force" in hint


def test_convert_into_a_file_is_refused(refused, ingredients, workplace):
    (workplace / "file").write_bytes(b"")

    code, message, _ = refused(
        "convert", ingredients["beta7"], "--to", "fp8", "--out", "file/below"
    )

    assert code == 9
    assert "file/below: cannot be written" in message


def test_unknown_variant_is_refused_with_the_near_one(refused, ingredients):
    code, message, hint = refused("convert", ingredients["beta7"], "--to", "fp61")

    assert code == 2
    assert "unknown preset 'fp61'" in message
    assert "fp16" in hint


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_senseless_number_of_threads_is_refused(
    refused, ingredients, monkeypatch, value
):
    monkeypatch.setenv("KRELEASE_THREADS", value)

    code, message, hint = refused("convert", ingredients["beta7"], "--to", "fp8")

    assert code == 2
    assert f"KRELEASE_THREADS={value}: expected a whole number from 1" in message
    assert "--threads" in hint


def test_unknown_key_in_a_definition_is_named(krelease, define, ingredients):
    define("own", paths=ingredients, replace={"[recipe]\n": '[recipe]\nvea = "x"\n'})

    code, out, err = krelease("build", "own")

    assert (code, out) == (3, "")
    assert err.startswith("error: own.toml: recipe.vea: unknown key; did you mean vae?")


@pytest.mark.parametrize("name", ["model.ckpt", "model.pt", "model.pkl"])
@pytest.mark.parametrize("command", [["verify"], ["convert", "--to", "fp8"]])
def test_pickle_is_refused_unread(refused, workplace, name, command):
    (workplace / name).write_bytes(b"\x80\x04.")

    code, message, hint = refused(*command, name)

    assert code == 4
    assert f"{name}: " in message
    assert "pickle" in message
    assert "safetensors" in hint


def test_verify_of_a_folder_without_checkpoints_is_refused(refused):
    code, message, hint = refused("verify", ".")

    assert (code, message) == (4, ".: has no manifest.json and no .safetensors file")
    assert "release folder" in hint


def test_verify_of_what_is_no_checkpoint_is_refused(refused, workplace):
    (workplace / "page.safetensors").write_bytes(b"<!DOCTYPE html>" + b" " * 100)

    code, message, _ = refused("verify", "page.safetensors")

    assert code == 4
    assert message.startswith("page.safetensors: ")


def test_hub_that_cannot_be_reached_is_named(refused, define, ingredients):
    del (paths := dict(ingredients))["base8"]
    define("own", paths=paths, hub={"base8": "maker/base8"})

    code, message, hint = refused("build", "own")

    assert code == 8
    assert "maker/base8" in message
    assert "network" in hint


def test_error_as_json_is_one_object_on_stdout(krelease, workplace):
    code, out, err = krelease("verify", "nothing", "--json")

    document = json.loads(out)
    assert code == document["exit_code"] == 4
    assert document["schema"] == "krelease.error/1"
    assert document["code"] == "not-found"
    assert f"error: {document['message']}\nhint: {document['hint']}\n" == err


def test_usage_error_as_json_is_one_object_too(krelease):
    code, out, _ = krelease("convert", "model.safetensors", "--json")

    assert json.loads(out)["exit_code"] == code == 2
    assert "--to" in json.loads(out)["message"]
