"""Checks some tensors of a result against numpy; a program of its own.

Usage: check_tensors.py RESULT VARIANT TOLERANCE RECIPE NAME=PATH ...

RECIPE is source for the one checkpoint that was converted; gamma, for the four
ingredients; rev2, for gamma with block weights; eight, for gamma with four more terms.
VARIANT is a preset, or ggml-f16: fp16 as stable-diffusion.cpp understands it.
TOLERANCE is in steps of the result's dtype: 0 for what must be rounded exactly once.
It runs as a child, so that its memory does not count in the measurements.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

N_TENSORS = 2515
N_SCALED = 743
"""Linear weights of the U-Net, which get a scale and a marker in ComfyUI's layout."""

N_TENSORS_OTHERWISE = {
    "fp8-scaled": N_TENSORS + 2 * N_SCALED,
    "ggml-f16": N_TENSORS - 2,
}
"""ggml-f16 lacks position_ids and logit_scale, which its program does not use."""

CLIP = "conditioner.embedders."
UNET = "model.diffusion_model."

BLOCK_WEIGHTS = {
    f"{CLIP}0.transformer.text_model.encoder.layers.3.mlp.fc1.weight": 0.0,
    f"{CLIP}1.model.transformer.resblocks.7.attn.in_proj_weight": 0.0,
    "first_stage_model.decoder.conv_in.weight": 0.0,
    f"{UNET}input_blocks.1.0.in_layers.2.weight": 0.1,
    f"{UNET}input_blocks.4.1.transformer_blocks.1.attn1.to_q.weight": 0.1,
    f"{UNET}middle_block.1.transformer_blocks.5.ff.net.0.proj.weight": 0.0,
    f"{UNET}output_blocks.5.1.transformer_blocks.0.norm2.weight": 0.05,
    f"{UNET}output_blocks.5.1.transformer_blocks.1.attn2.to_k.weight": 0.05,
    f"{UNET}output_blocks.8.0.out_layers.3.bias": 0.05,
}
"""Tensors that are looked at, with the weight of anxl3 in the last step of rev2."""

NORMS = ("norm2.weight",)
"""What stays F16 in the U-Net of an fp8 checkpoint, of the tensors above."""

LINEAR = (".to_q.weight", ".to_k.weight", ".proj.weight")
"""What is scaled in fp8-scaled, of those in the U-Net."""

BIASES = (".bias",)
"""What stays F32 in ggml-f16."""

MORE = {"anxl2_b": 0.0625, "anxl3_b": -0.125, "base8_b": -0.0625, "beta7_b": 0.125}
"""What the recipe called eight has beside gamma's terms."""

POSITIONS = f"{CLIP}0.transformer.text_model.embeddings.position_ids"

_NUMPY = {"F32": "<f4", "F16": "<f2", "F8_E4M3": "u1", "I64": "<i8"}

Array = npt.NDArray[Any]


class Checkpoint:
    """A safetensors file, read by the letter of the format and nothing else."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            nbytes = int.from_bytes(file.read(8), "little")
            self.header: dict[str, Any] = json.loads(file.read(nbytes))
        self._data_begin = 8 + nbytes
        self.header.pop("__metadata__", None)

    def dtype(self, name: str) -> str:
        """Return the dtype's code."""
        return str(self.header[name]["dtype"])

    def codes(self, name: str) -> Array:
        """Return the stored elements of a tensor, flat; fp8 as bytes."""
        begin, end = self.header[name]["data_offsets"]
        dtype = np.dtype(_NUMPY[self.dtype(name)])
        return np.fromfile(
            self._path,
            dtype,
            (end - begin) // dtype.itemsize,
            offset=self._data_begin + begin,
        )

    def values(self, name: str) -> Array:
        """Return the values of a tensor, flat, in float64."""
        codes = self.codes(name)
        if self.dtype(name) != "F8_E4M3":
            return codes.astype(np.float64)
        values: Array = np.where(codes & 128, -1.0, 1.0) * e4m3_values()[codes & 127]
        return values

    def scale(self, name: str) -> float:
        """Return what the stored values of a weight are multiplied by."""
        scale = f"{name.removesuffix('.weight')}.weight_scale"
        return float(self.codes(scale)[0]) if scale in self.header else 1.0


def expected(name: str, recipe: str, sources: Mapping[str, Checkpoint]) -> Array:
    """Return what a tensor of the result must be, in float64."""
    row = coefficients(recipe, BLOCK_WEIGHTS[name])
    products = [row[key] * sources[key].values(name) for key in sorted(row)]
    total: Array = sum(products[1:], start=products[0])
    return total


def coefficients(recipe: str, weight: float) -> dict[str, float]:
    """Return source -> factor, in a block of that weight of anxl3."""
    if recipe == "source":
        return {"source": 1.0}
    if recipe == "rev2":
        return {
            "anxl2": weight - 1,
            "anxl3": 1.0,
            "base8": (25 - 25 * weight) / 100,
            "beta7": (75 - 75 * weight) / 100,
        }
    gamma = {"anxl2": -1.0, "anxl3": 1.0, "base8": 0.25, "beta7": 0.75}
    return {**gamma, **MORE} if recipe == "eight" else gamma


def e4m3_values() -> Array:
    """Return the 127 finite values from 0 up of F8_E4M3; the index is the code."""
    codes = np.arange(127)
    exponent, mantissa = codes >> 3, codes & 7
    normal = (8 + mantissa) * 2.0 ** (exponent - 10)
    return np.where(exponent == 0, mantissa * 2.0**-9, normal)


def to_e4m3(values: Array) -> Array:
    """Return the codes of the nearest F8_E4M3 values, ties to even, clamped."""
    steps = e4m3_values()
    middles = (steps[:-1] + steps[1:]) / 2
    size = np.abs(values)
    code = np.searchsorted(middles, size, side="left")
    is_tie = (code < len(middles)) & (middles[np.minimum(code, 125)] == size)
    code += is_tie & (code % 2 == 1)
    return (code + np.where(np.signbit(values), 128, 0)).astype(np.uint8)


def steps_apart(found: Array, wanted: Array) -> int:
    """Return how many representable values lie between two arrays, at worst."""
    half = 1 << (8 * found.itemsize - 1)
    bits = f"i{2 * found.itemsize}"
    ordered = []
    for codes in (found.view(f"u{found.itemsize}"), wanted.view(f"u{wanted.itemsize}")):
        wide = codes.astype(bits)
        ordered.append(np.where(wide >= half, half - wide, wide))
    return int(np.abs(ordered[0] - ordered[1]).max())


def problems(
    result: Checkpoint,
    variant: str,
    sources: Mapping[str, Checkpoint],
    *,
    tolerance: int,
    recipe: str,
) -> list[str]:
    """Return what is wrong with a result, one line for each reason."""
    found = []
    n_tensors = N_TENSORS_OTHERWISE.get(variant, N_TENSORS)
    if len(result.header) != n_tensors:
        found.append(f"{len(result.header)} tensors, expected {n_tensors}")
    for name in BLOCK_WEIGHTS:
        dtype = wanted_dtype(name, variant)
        if name not in result.header or result.dtype(name) != dtype:
            found.append(f"{name}: not there as {dtype}")
            continue
        value = expected(name, recipe, sources) / result.scale(name)
        codes = to_e4m3(value) if dtype == "F8_E4M3" else value.astype(_NUMPY[dtype])
        apart = steps_apart(result.codes(name), codes)
        if apart > tolerance:
            found.append(f"{name}: {apart} steps from the formula")
    if tolerance == 0 and variant != "ggml-f16":
        copied = result.codes(POSITIONS)
        if not np.array_equal(copied, np.arange(77, dtype="<i8")):
            found.append(f"{POSITIONS}: not copied")
    return found


def wanted_dtype(name: str, variant: str) -> str:
    """Return the dtype code of a tensor in a variant."""
    match variant:
        case "fp8":
            is_fp8 = name.startswith(UNET) and not name.endswith(NORMS)
        case "fp8-scaled":
            is_fp8 = name.startswith(UNET) and name.endswith(LINEAR)
        case "ggml-f16":
            return "F32" if name.endswith(BIASES) else "F16"
        case _:
            is_fp8 = False
    return "F8_E4M3" if is_fp8 else "F16"


if __name__ == "__main__":
    path, variant, tolerance, recipe, *pairs = sys.argv[1:]
    sources = {
        name: Checkpoint(Path(source))
        for name, _, source in (pair.partition("=") for pair in pairs)
    }
    found = problems(
        Checkpoint(Path(path)),
        variant,
        sources,
        tolerance=int(tolerance),
        recipe=recipe,
    )
    sys.exit("\n".join(f"{path}: {line}" for line in found) or None)
