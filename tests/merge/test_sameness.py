"""The same recipe gives the same bytes, however and wherever it is run."""

import os
import subprocess
import sys
from hashlib import sha256  # noqa: TID251  # an oracle that is not our code

import numpy as np
import pytest
import safetensors.numpy

EXPRESSION = "0.5*mbw(a, slerp(a, b, 0.3), '0, IN04=0.5, vae=1') + 0.5*c + 0.7*lora(s)"
UNET = "model.diffusion_model."


@pytest.fixture(scope="module")
def paths(tmp_path_factory, models):
    """Three models and a LoRA of one module."""
    name = f"{UNET}input_blocks.4.1.proj_in.weight"
    rows, columns = safetensors.numpy.load_file(models["a"])[name].shape
    random = np.random.default_rng(3)
    module = "lora_unet_input_blocks_4_1_proj_in"
    path = tmp_path_factory.mktemp("lora") / "s.safetensors"
    factors = {
        f"{module}.lora_up.weight": random.normal(0, 0.1, (rows, 8)),
        f"{module}.lora_down.weight": random.normal(0, 0.1, (8, columns)),
        f"{module}.alpha": np.array(4.0),
    }
    safetensors.numpy.save_file(
        {key: value.astype(np.float32) for key, value in factors.items()}, path
    )
    return {**models, "s": path}


def digests(folder):
    return {
        path.name: sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()
    }


@pytest.fixture(scope="module")
def first(tmp_path_factory, run_merge, options, paths):
    """What two threads make."""
    folder = tmp_path_factory.mktemp("first")
    run_merge(EXPRESSION, *options(paths), "--to=fp8", "--threads=2", f"--out={folder}")
    return folder


@pytest.mark.parametrize(("seed", "threads", "order"), [("0", 1, 1), ("1", 7, -1)])
def test_another_process_makes_the_same_files(
    tmp_path, options, paths, first, seed, threads, order
):
    """Whatever its threads, its hashes, and the order of its ingredients."""
    out = tmp_path / "again"
    given = options(dict([*paths.items()][::order]))
    command = [sys.executable, "-m", "release", "merge", EXPRESSION, *given]

    subprocess.run(
        [*command, "--to=fp8", f"--out={out}", f"--threads={threads}", "--quiet"],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONHASHSEED": seed, "TZ": "Asia/Tokyo"},
        capture_output=True,
    )

    found = digests(out)
    assert found.keys() == {"merge-fp8.safetensors", "merge-fp8.krelease.json"}
    assert found == digests(first)


def test_nothing_says_where_the_files_lay(first, paths):
    folders = {str(path.parent).encode() for path in paths.values()}

    for path in first.iterdir():
        content = path.read_bytes()
        for folder in {*folders, str(first).encode(), os.environ["HOME"].encode()}:
            assert folder not in content
