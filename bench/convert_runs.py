"""Single runs of conversions; each checks the result and removes it."""

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from runs import KRELEASE, check
from scratch import HERE
from timing import BenchError, PeerError, Sample, spawn

SUFFIXES = {"fp8": "fp8", "fp16": "fp16", "fp8-scaled": "fp8_scaled"}
"""What file names end in, by preset."""

TORCH_NAMES = {"F8_E4M3": "float8_e4m3fn", "F16": "float16"}

OUTSIDE_UNET = r"^(conditioner|first_stage_model)\."


def convert(source: Path, presets: Sequence[str]) -> Sample:
    """Convert with krelease, whole process."""
    _make_ready(source)
    folder = source.parent / "converted"
    sample = convert_into(folder, source, presets)
    shutil.rmtree(folder)
    return sample


def convert_into(folder: Path, source: Path, presets: Sequence[str]) -> Sample:
    """Convert with krelease, and leave the results in `folder`."""
    wanted = [f"--to={preset}" for preset in presets]
    sample = spawn([KRELEASE, "convert", source, *wanted, "--out", folder])
    _check_presets(folder, source, presets)
    return sample


def convert_pass(source: Path, presets: Sequence[str]) -> Sample:
    """Run the pass of a conversion within a process that is already running."""
    _make_ready(source)
    folder = source.parent / "passed"
    folder.mkdir()
    script = HERE / "convert_pass.py"
    sample = spawn([sys.executable, script, source, folder, *presets])
    _check_presets(folder, source, presets)
    shutil.rmtree(folder)
    return replace(sample, seconds=float(sample.stdout))


def load_cast_save(source: Path, dtype: str, names: Path) -> Sample:
    """Convert the usual way: `load_file`, `.to` for some tensors, `save_file`.

    Args:
        source: The checkpoint.
        dtype: Code of the dtype that is cast to.
        names: What is cast, as `write_names` leaves it.
    """
    _make_ready(source)
    output = source.parent / "cast.safetensors"
    script = HERE / "peer_convert.py"
    sample = spawn([sys.executable, script, source, output, TORCH_NAMES[dtype], names])
    sample = _stored(sample, output)
    variant = "fp8" if dtype == "F8_E4M3" else "fp16"
    check(output, variant, [f"source={source}"], recipe="source")
    output.unlink()
    return sample


def copy(result: Path) -> Sample:
    """Copy a file, byte by byte."""
    _make_ready(result)
    output = result.with_name("copied.safetensors")
    sample = spawn(["cp", "--reflink=never", result, output])
    sample = _stored(sample, output)
    if output.stat().st_size != result.stat().st_size:
        raise BenchError(f"{output}: not a copy")
    output.unlink()
    return sample


def convert_to_quant(python: Path, source: Path) -> Sample:
    """Convert with convert-to-quant to the layout of fp8-scaled.

    Raises:
        PeerError: It failed, or its result is another than krelease's.
    """
    _make_ready(source)
    output = source.parent / "quantised.safetensors"
    command: list[str | Path] = [
        *(python, "-m", "convert_to_quant.convert_to_quant", "--simple"),
        *("--comfy_quant", "--save-quant-metadata", "--device", "cpu"),
        *("--output-dtype", "float16", "--exclude-layers", OUTSIDE_UNET),
        *("-i", source, "-o", output),
    ]
    return _of_peer(command, output, "fp8-scaled", source, tolerance=1)


def sd_cpp(python: Path, source: Path) -> Sample:
    """Convert with stable-diffusion.cpp to fp16.

    Raises:
        PeerError: It failed, or its result is wrong.
    """
    _make_ready(source)
    output = source.parent / "ggml.safetensors"
    command = [python, HERE / "peer_sd_cpp.py", source, output]
    return _of_peer(command, output, "ggml-f16", source)


def cast(way: str, memory: str, before: str, after: str) -> Sample:
    """Cast in memory; the sample's stdout is the digest of the result."""
    script = HERE / "cast_pass.py"
    sample = spawn([sys.executable, script, way, memory, before, after])
    seconds, digest = sample.stdout.split()
    return replace(sample, seconds=float(seconds), stdout=digest)


def result_of(folder: Path, preset: str) -> Path:
    """Return the checkpoint of one preset among the results of a conversion.

    Raises:
        BenchError: There is not exactly one.
    """
    found = list(folder.glob(f"*-{SUFFIXES[preset]}.safetensors"))
    if len(found) != 1:
        raise BenchError(f"{folder}: {len(found)} checkpoints of {preset}")
    return found[0]


def write_names(path: Path, checkpoint: Path) -> Path:
    """Write the names of a checkpoint's fp8 tensors, as `load_cast_save` needs them."""
    with checkpoint.open("rb") as file:
        header: dict[str, Any] = json.loads(
            file.read(int.from_bytes(file.read(8), "little"))
        )
    cast = [name for name, entry in header.items() if entry.get("dtype") == "F8_E4M3"]
    path.write_text(json.dumps(cast), encoding="utf-8")
    return path


def _make_ready(source: Path) -> None:
    """Bring what earlier runs wrote to the disk, and the source into the page cache."""
    script = 'sync -f "$1" && cat "$1" > /dev/null'
    spawn(["sh", "-c", script, "sh", source])


def _stored(sample: Sample, output: Path) -> Sample:
    """Return the sample with the time that its result took to the disk afterwards."""
    return replace(sample, sync_seconds=spawn(["sync", output]).seconds)


def _check_presets(folder: Path, source: Path, presets: Sequence[str]) -> None:
    for preset in presets:
        tolerance = 1 if preset == "fp8-scaled" else 0
        result = result_of(folder, preset)
        pairs = [f"source={source}"]
        check(result, preset, pairs, recipe="source", tolerance=tolerance)


def _of_peer(
    command: Sequence[str | Path],
    output: Path,
    variant: str,
    source: Path,
    *,
    tolerance: int = 0,
) -> Sample:
    try:
        sample = spawn(command)
        pairs = [f"source={source}"]
        check(output, variant, pairs, recipe="source", tolerance=tolerance)
    except BenchError as error:
        raise PeerError(str(error)) from error
    finally:
        output.unlink(missing_ok=True)
    return sample
