"""Everything that `krelease convert` writes, through the safetensors library.

And through what others build on it: huggingface_hub's loading of shards. The shapes
come from a narrow SDXL checkpoint, so every tensor name is a real one.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from huggingface_hub import load_state_dict_from_file, load_torch_model

Convert = Callable[..., dict[str, Path]]

N_LINEAR, N_CONV, N_BIAS, N_TENSORS = 743, 51, 374, 2515
"""Of SDXL's U-Net, and of the whole checkpoint."""

DTYPES = {
    "fp32": {"F32": N_TENSORS - 1, "I64": 1},
    "fp16": {"F16": N_TENSORS - 1, "I64": 1},
    "bf16": {"BF16": N_TENSORS - 1, "I64": 1},
    "fp8": {
        "F8_E4M3": N_LINEAR + N_CONV + N_BIAS,
        "F16": N_TENSORS - 1 - N_LINEAR - N_CONV - N_BIAS,
        "I64": 1,
    },
    "fp8-e5m2": {
        "F8_E5M2": N_LINEAR + N_CONV + N_BIAS,
        "F16": N_TENSORS - 1 - N_LINEAR - N_CONV - N_BIAS,
        "I64": 1,
    },
    "fp8-scaled": {
        "F8_E4M3": N_LINEAR,
        "F32": N_LINEAR,
        "U8": N_LINEAR,
        "F16": N_TENSORS - 1 - N_LINEAR,
        "I64": 1,
    },
}
"""Preset -> dtype -> tensors that have it."""

IN_NUMPY = {"F32": np.float32, "F16": np.float16, "I64": np.int64, "U8": np.uint8}
"""The dtypes written that numpy has."""

every_preset = pytest.mark.parametrize("preset", DTYPES)


def header_of(path: Path) -> dict[str, dict[str, object]]:
    with path.open("rb") as file:
        return json.loads(file.read(int.from_bytes(file.read(8), "little")))


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


@every_preset
def test_torch_reads_every_tensor_in_its_dtype(
    preset: str, converted: dict[str, Path], narrow: Path
) -> None:
    shapes = {k: v.shape for k, v in safetensors.torch.load_file(narrow).items()}

    found = safetensors.torch.load_file(converted[preset])

    assert {name: found[name].shape for name in shapes} == shapes
    written = header_of(converted[preset])
    written.pop("__metadata__")
    assert Counter(entry["dtype"] for entry in written.values()) == DTYPES[preset]
    assert found.keys() == written.keys()


@every_preset
def test_both_ways_of_opening_give_the_bytes_of_the_file(
    preset: str, converted: dict[str, Path]
) -> None:
    data = converted[preset].read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    found = safetensors.torch.load_file(converted[preset])

    with safetensors.safe_open(converted[preset], "pt") as file:
        names = list(file.keys())
        for name in names:
            start, end = header_of_cached(converted[preset])[name]["data_offsets"]
            raw = data[begin + start : begin + end]
            assert bits(found[name]) == bits(file.get_tensor(name)) == raw

    assert sorted(names) == sorted(found)


_HEADERS: dict[Path, dict] = {}


def header_of_cached(path: Path) -> dict:
    if path not in _HEADERS:
        _HEADERS[path] = header_of(path)
    return _HEADERS[path]
