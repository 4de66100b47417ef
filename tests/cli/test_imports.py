"""What starting costs: help and verify load only what they need."""

import statistics
import subprocess
import sys
import time

import pytest

HEAVY = (
    "torch numpy jinja2 huggingface_hub safetensors pydantic rich yaml xxhash"
    " cryptography"
)
LOADED = "print(*sorted(set(sys.modules) & set({wanted!r}.split())))"


def loaded_after(code: str, wanted: str, *arguments: object) -> str:
    """Return which of the wanted modules a fresh interpreter has after the code."""
    script = f"import sys\n{code}\n{LOADED.format(wanted=wanted)}"
    command = [sys.executable, "-c", script, *map(str, arguments)]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    return run.stdout.splitlines()[-1]


def as_program() -> str:
    return "from release.cli import app\ntry: app()\nexcept SystemExit: pass"


def test_importing_the_command_line_loads_nothing_heavy():
    assert loaded_after("import release.cli", HEAVY) == ""


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_loads_nothing_heavy(option):
    assert loaded_after(as_program(), HEAVY, option) == ""


def test_help_of_a_command_loads_nothing_but_what_typer_parses_with():
    assert loaded_after(as_program(), HEAVY, "build", "--help") in {"", "pydantic"}


def test_verify_never_loads_torch_nor_the_hub(release_folder):
    wanted = "torch numpy jinja2 huggingface_hub safetensors rich yaml xxhash"

    assert loaded_after(as_program(), wanted, "verify", release_folder) == "xxhash"


def test_hash_never_loads_torch_nor_numpy(release_folder):
    wanted = "torch numpy jinja2 huggingface_hub safetensors rich yaml xxhash"
    path = next(release_folder.glob("*-fp8.safetensors"))

    assert loaded_after(as_program(), wanted, "hash", path, "--threads=2") == "xxhash"


def test_verify_of_one_file_loads_no_torch_either(release_folder):
    path = next(release_folder.glob("*-fp8.safetensors"))

    assert loaded_after(as_program(), "torch huggingface_hub", "verify", path) == ""


def test_inspect_loads_next_to_nothing(release_folder):
    path = next(release_folder.glob("*-fp8.safetensors"))
    wanted = "torch numpy jinja2 huggingface_hub safetensors rich yaml release.engine"

    assert loaded_after(as_program(), wanted, "inspect", path) == ""


def test_listing_the_catalog_loads_no_torch():
    assert loaded_after(as_program(), "torch huggingface_hub", "releases") == ""


def test_help_is_quick(environment):
    program = [sys.executable, "-c", as_program(), "--help"]
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        subprocess.run(program, check=True, capture_output=True, env=environment)
        seconds.append(time.perf_counter() - begin)

    # 0.15 s on a machine that does nothing else; the bound allows for one that does.
    assert statistics.median(seconds) < 0.6


def test_repair_from_another_copy_loads_neither_torch_nor_the_hub(
    release_folder, tmp_path
):
    path = next(release_folder.glob("*-fp8.safetensors"))
    damaged = tmp_path / path.name
    damaged.write_bytes(path.read_bytes()[:-1])
    arguments = ("repair", damaged, "--from", path)

    assert loaded_after(as_program(), "torch huggingface_hub numpy", *arguments) == ""
    assert damaged.read_bytes() == path.read_bytes()
