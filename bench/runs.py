"""Single runs of krelease and its peers; each checks the result and removes it.

Those of conversions are in `convert_runs`.
"""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scratch import HERE, Material
from timing import BenchError, Sample, spawn

KRELEASE = Path(sys.executable).with_name("krelease")
STEM = "kohaku-xl-gamma-rev2"
_INTEGRITY_ERROR = 5
_DAMAGED_BYTE = 1_000_003
"""Counted from the end of a checkpoint, well within its data."""


def build_folder(material: Material, folder: Path, variants: Sequence[str]) -> Sample:
    """Build the release into `folder` and leave it there."""
    given = [f"--ingredient={pair}" for pair in material.pairs]
    source = f"--definition={material.definition(variants)}"
    sample = spawn([KRELEASE, "build", "--json", source, "--out", folder, *given])
    for variant in variants:
        check(folder / f"{STEM}-{variant}.safetensors", variant, material.pairs)
    return sample


def build(material: Material, variants: Sequence[str]) -> Sample:
    """Build the release and remove it."""
    folder = material.folder / "built"
    sample = build_folder(material, folder, variants)
    shutil.rmtree(folder)
    return sample


def sd_mecha(python: Path, material: Material) -> Sample:
    """Merge with sd-mecha. It rounds in float32, so two steps of F16 are let pass."""
    output = material.folder / "sd-mecha.safetensors"
    script = HERE / "peer_sd_mecha.py"
    sample = spawn([python, script, material.folder, output])
    check(output, "fp16", material.pairs, tolerance=2)
    output.unlink()
    return sample


def cat_and_cp(material: Material) -> Sample:
    """Read every ingredient, and write one file as large as the result."""
    paths = list(material.ingredients.values())
    output = material.folder / "copied.safetensors"
    script = 'out=$1; shift; cat "$@" > /dev/null && cp --reflink=never "$1" "$out"'
    sample = spawn(["sh", "-c", script, "sh", output, *paths])
    if output.stat().st_size != paths[0].stat().st_size:
        raise BenchError(f"{output}: not a copy")
    output.unlink()
    return sample


def engine_pass(material: Material, variants: Sequence[str]) -> Sample:
    """Run the engine within a process that is already running."""
    folder = material.folder / "passed"
    folder.mkdir()
    script = HERE / "engine_pass.py"
    definition = material.definition(variants)
    sample = spawn([sys.executable, script, definition, folder, *material.pairs])
    for variant in variants:
        check(folder / f"{STEM}-{variant}.safetensors", variant, material.pairs)
    shutil.rmtree(folder)
    return replace(sample, seconds=float(sample.stdout))


def verify(path: Path, *, threads: int) -> Sample:
    """Verify a checkpoint that is intact."""
    sample = spawn([KRELEASE, "verify", path, "--json", "--threads", str(threads)])
    if json.loads(sample.stdout)["intact"] is not True:
        raise BenchError(f"krelease verify {path}: did not say that it is intact")
    return sample


def verify_pass(path: Path, *, threads: int) -> Sample:
    """Verify within a process that is already running."""
    script = HERE / "verify_pass.py"
    sample = spawn([sys.executable, script, path, str(threads)])
    return replace(sample, seconds=float(sample.stdout))


def hash_file(command: Sequence[str | Path], path: Path, digest: str) -> Sample:
    """Hash a file with the peer, which must agree with the manifest."""
    sample = spawn([*command, path])
    if digest not in sample.stdout:
        raise BenchError(f"{path}: xxh128sum and krelease's manifest disagree")
    return sample


def require_damage_is_seen(path: Path) -> None:
    """Change one byte, so that a verify that reads nothing could not have won."""
    with path.open("r+b") as file:
        file.seek(-min(_DAMAGED_BYTE, path.stat().st_size // 2), os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    spawn([KRELEASE, "verify", path, "--json"], expected=_INTEGRITY_ERROR)


def show_help() -> Sample:
    """Print the help."""
    sample = spawn([KRELEASE, "--help"])
    if "publish" not in sample.stdout:
        raise BenchError("krelease --help: does not name the commands")
    return sample


def check(
    path: Path, variant: str, sources: Sequence[str], *, tolerance: int = 0
) -> None:
    """Compare some tensors of a result with numpy, in a child of its own."""
    script = HERE / "check_tensors.py"
    spawn([sys.executable, script, path, variant, str(tolerance), *sources])
