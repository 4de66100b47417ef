"""`krelease merge` as a program: what it says, where, and how it is stopped."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

HALF = "0.5*beta7 + 0.5*base8"


@pytest.fixture
def two(ingredients: dict[str, Path]) -> list[str]:
    return [f"--ingredient={name}={ingredients[name]}" for name in ("beta7", "base8")]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_help_says_what_an_expression_is_and_what_is_written_by_default(krelease):
    code, out, _ = krelease("merge", "--help")

    assert code == 0
    assert "krelease recipe --help" in out
    for option in ("--recipe", "--ingredient", "--to", "--out", "--missing"):
        assert option in out
    assert "[default: fp16]" in out


def test_result_goes_to_stdout_and_everything_else_to_stderr(spawn, two, tmp_path):
    done = spawn("merge", "0.5*beta7 + 0.25*base8", *two, "--to=fp8", "--out=out")

    assert done.returncode == 0
    assert done.stdout.splitlines()[0].startswith("out/merge-fp8.safetensors")
    assert "record  out/merge-fp8.krelease.json" in done.stdout
    assert "warning: coefficients sum to 0.75, not 1, in every block" in done.stderr
    assert "warning" not in done.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "merge-fp8.safetensors",
        "merge-fp8.krelease.json",
    }


def test_json_is_one_object_whose_files_exist(krelease, two, here):
    code, out, _ = krelease("merge", HALF, *two, "--sha256", "--json")

    document = json.loads(out)
    (variant,) = document["variants"]
    (file,) = variant["files"]
    assert (code, document["schema"]) == (0, "krelease.merge/1")
    assert document["architecture"] == "sdxl"
    assert file["nbytes"] == Path(file["path"]).stat().st_size
    assert len(file["sha256"]) == 64
    assert file["autov2"].lower() == file["sha256"][:10]
    assert Path(variant["record"]).is_file()


def test_syntax_error_has_a_caret_under_the_place_and_no_traceback(spawn):
    done = spawn("merge", "beta7 + 0.5*(base8 - ", "-ibeta7=x", "-ibase8=y")

    assert (done.returncode, done.stdout) == (3, "")
    error, excerpt, caret, hint = done.stderr.splitlines()
    assert error.startswith("error: expression: column 22: got the end")
    assert excerpt == "  beta7 + 0.5*(base8 - "
    assert caret.index("^") == 2 + 21
    assert hint.startswith("hint: ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_merge_that_is_stopped_leaves_nothing(program, environment, two, here, number):
    command = [program, "merge", HALF, *two, "--to=fp16", "--to=fp8", "--out=new/out"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=environment
    ) as running:
        while running.poll() is None and not any(here.glob("new/out/.*")):
            time.sleep(0.002)
        os.kill(running.pid, number)
        _, err = running.communicate()

    assert running.returncode == 128 + number
    assert err.splitlines()[-1].startswith(f"stopped by {number.name}")
    assert "Traceback" not in err
    assert list(here.rglob("*")) == []


def test_merge_names_what_stays_fp16_and_refuses_endless_thresholds(
    krelease, ingredients, tmp_path
):
    models = [f"-i{name}={ingredients[name]}" for name in ("beta7", "anxl3")]
    common = ("merge", "0.5*beta7 + 0.5*anxl3", *models, "--to=fp8", "--dry-run")

    code, _, err = krelease(*common, f"--out={tmp_path}", "--min-snr=29")
    refused, _, _ = krelease(*common, f"--out={tmp_path}", "--min-snr=inf")

    assert code == 0
    assert "tensors stay fp16: model.diffusion_model." in err
    assert refused == 2
