"""Everything that `krelease convert` writes, read by the safetensors library.

And by what is built on it: huggingface_hub's loading of shards. The checkpoint is a
narrow one with every tensor name of SDXL.
"""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from huggingface_hub import load_state_dict_from_file, load_torch_model

Convert = Callable[..., dict[str, Path]]

N_LINEAR, N_CONV, N_BIAS, N_FLOATS = 743, 51, 374, 2514
"""Tensors of SDXL: three kinds in the U-Net, and all that are not integers.

One of the latter, logit_scale, stays in F16 whatever the preset.
"""

PLAIN_FP8 = N_LINEAR + N_CONV + N_BIAS

DTYPES = {
    "fp32": {"F32": N_FLOATS - 1, "F16": 1, "I64": 1},
    "fp16": {"F16": N_FLOATS, "I64": 1},
    "bf16": {"BF16": N_FLOATS - 1, "F16": 1, "I64": 1},
    "fp8": {"F8_E4M3": PLAIN_FP8, "F16": N_FLOATS - PLAIN_FP8, "I64": 1},
    "fp8-e5m2": {"F8_E5M2": PLAIN_FP8, "F16": N_FLOATS - PLAIN_FP8, "I64": 1},
    "fp8-scaled": {
        "F8_E4M3": N_LINEAR,
        "F32": N_LINEAR,
        "U8": N_LINEAR,
        "F16": N_FLOATS - N_LINEAR,
        "I64": 1,
    },
}
"""Preset -> dtype -> how many tensors have it."""

TORCH = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "U8": torch.uint8,
}
NUMPY = {"F32": np.float32, "F16": np.float16, "I64": np.int64, "U8": np.uint8}
"""numpy has no other dtype that is written."""

every_preset = pytest.mark.parametrize("preset", DTYPES)


class Contents:
    """A file by its bytes: no library has a part in it."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        self.begin = 8 + int.from_bytes(data[:8], "little")
        self.entries: dict[str, Any] = json.loads(data[8 : self.begin])
        self.metadata: dict[str, str] = self.entries.pop("__metadata__")
        self.data = data[self.begin :]

    def raw(self, name: str) -> bytes:
        start, end = self.entries[name]["data_offsets"]
        return self.data[start:end]


class Tree(torch.nn.Module):
    """A model without a purpose: modules and buffers named like some tensors."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            module: torch.nn.Module = self
            *path, own_name = name.split(".")
            for part in path:
                if part not in module._modules:
                    module.add_module(part, torch.nn.Module())
                module = module._modules[part]
            module.register_buffer(own_name, torch.zeros_like(tensor))


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def same_bits(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(
        left[name].dtype == tensor.dtype
        and left[name].shape == tensor.shape
        and bits(left[name]) == bits(tensor)
        for name, tensor in right.items()
    )


@every_preset
def test_torch_reads_what_the_bytes_say(
    preset: str, converted: dict[str, Path]
) -> None:
    contents = Contents(converted[preset])

    tensors = safetensors.torch.load_file(converted[preset])

    assert tensors.keys() == contents.entries.keys()
    for name, entry in contents.entries.items():
        assert tensors[name].dtype is TORCH[entry["dtype"]]
        assert tensors[name].shape == tuple(entry["shape"])
        assert bits(tensors[name]) == contents.raw(name)


@every_preset
def test_tensors_have_the_dtypes_of_the_preset_and_the_shapes_of_the_source(
    preset: str, converted: dict[str, Path], narrow: Path
) -> None:
    source, written = Contents(narrow).entries, Contents(converted[preset]).entries

    dtypes = Counter(entry["dtype"] for entry in written.values())

    assert dtypes == DTYPES[preset]
    assert {name: written[name]["shape"] for name in source} == {
        name: entry["shape"] for name, entry in source.items()
    }


@every_preset
def test_safe_open_reads_metadata_tensors_and_slices(
    preset: str, converted: dict[str, Path]
) -> None:
    contents = Contents(converted[preset])

    with safetensors.safe_open(converted[preset], "pt") as file:
        metadata = file.metadata()
        names = set(file.keys())
        weight = "model.diffusion_model.out.2.weight"
        whole, first = file.get_tensor(weight), file.get_slice(weight)[:1]

    assert names == contents.entries.keys()
    assert metadata == contents.metadata
    assert metadata["format"] == "pt"  # without it transformers refuses a file
    assert metadata["krelease.variant"] == preset
    assert bits(first) == bits(whole)[: len(bits(first))]


@pytest.mark.parametrize("preset", ["fp32", "fp16"])
def test_numpy_loads_whole_files_of_dtypes_it_has(
    preset: str, converted: dict[str, Path]
) -> None:
    contents = Contents(converted[preset])

    arrays = safetensors.numpy.load_file(converted[preset])

    assert arrays.keys() == contents.entries.keys()
    for name, array in arrays.items():
        assert array.dtype == NUMPY[contents.entries[name]["dtype"]]
        assert array.tobytes() == contents.raw(name)


@pytest.mark.parametrize("preset", ["bf16", "fp8", "fp8-e5m2", "fp8-scaled"])
def test_numpy_reads_those_tensors_of_a_file_whose_dtypes_it_has(
    preset: str, converted: dict[str, Path]
) -> None:
    contents = Contents(converted[preset])
    known = [name for name, e in contents.entries.items() if e["dtype"] in NUMPY]

    with safetensors.safe_open(converted[preset], "np") as file:
        arrays = {name: file.get_tensor(name) for name in known}

    for name, array in arrays.items():
        assert array.dtype == NUMPY[contents.entries[name]["dtype"]]
        assert array.tobytes() == contents.raw(name)
    n_known = sum(DTYPES[preset].get(dtype, 0) for dtype in NUMPY)
    assert len(arrays) == n_known


@every_preset
def test_library_lays_out_the_same_tensors_in_the_same_bytes(
    preset: str, converted: dict[str, Path], tmp_path: Path
) -> None:
    again = tmp_path / "again.safetensors"
    tensors = safetensors.torch.load_file(converted[preset])

    safetensors.torch.save_file(tensors, again, {"format": "pt"})

    assert Contents(again).data == Contents(converted[preset]).data
    assert Contents(again).entries == Contents(converted[preset]).entries


@pytest.fixture(scope="module")
def sharded(
    convert: Convert, narrow: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The first shard of every preset; all of them and their indexes lie beside it."""
    folder = tmp_path_factory.mktemp("sharded")
    return convert(narrow, *DTYPES, out=folder, options=("--shard=1MB",))


def pattern_of(first_shard: Path) -> str:
    """Return how huggingface_hub writes a name that goes with different endings."""
    return first_shard.name.partition("-00001-of-")[0] + "{suffix}.safetensors"


@every_preset
def test_hub_library_loads_shards_through_their_index(
    preset: str, sharded: dict[str, Path], converted: dict[str, Path]
) -> None:
    expected = safetensors.torch.load_file(converted[preset])
    model = Tree(expected)

    load_torch_model(
        model,
        sharded[preset].parent,
        strict=True,
        filename_pattern=pattern_of(sharded[preset]),
    )

    assert same_bits(model.state_dict(), expected)


@every_preset
def test_every_shard_is_a_file_that_the_hub_library_loads_alone(
    preset: str, sharded: dict[str, Path], converted: dict[str, Path]
) -> None:
    folder, pattern = sharded[preset].parent, pattern_of(sharded[preset])
    shards = sorted(folder.glob(pattern.format(suffix="-*-of-*")))
    index = json.loads((folder / f"{pattern.format(suffix='')}.index.json").read_text())

    parts = {path.name: load_state_dict_from_file(path) for path in shards}

    sizes = [len(Contents(path).data) for path in shards]
    assert len(shards) > 3
    assert max(sizes) <= 1_000_000
    assert index["metadata"]["total_size"] == sum(sizes)
    assert index["weight_map"] == {
        name: file for file, tensors in parts.items() for name in tensors
    }
    joined = {name: t for tensors in parts.values() for name, t in tensors.items()}
    assert same_bits(joined, safetensors.torch.load_file(converted[preset]))
