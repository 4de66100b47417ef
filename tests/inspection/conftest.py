"""Checkpoints written byte by byte."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from release.architecture.sdxl import narrow_shape, sdxl_tensors

WIDTHS = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8, "F8_E4M3": 1, "F8_E5M2": 1, "U8": 1}
UNET = "model.diffusion_model."
POSITIONS = "conditioner.embedders.0.transformer.text_model.embeddings.position_ids"

Tensors = Mapping[str, tuple[str, tuple[int, ...], bytes | None]]
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a safetensors file of (dtype, shape, bytes or None for zeros) by name."""

    def run(
        tensors: Tensors, metadata: Mapping[str, str] | None = None, name: str = "m"
    ) -> Path:
        entries, data = {}, b""
        for key, (code, shape, content) in tensors.items():
            nbytes = math.prod(shape) * WIDTHS[code]
            offsets = [len(data), len(data) + nbytes]
            entries[key] = {"dtype": code, "shape": shape, "data_offsets": offsets}
            data += bytes(nbytes) if content is None else content
        text = json.dumps({"__metadata__": metadata or {}, **entries}).encode()
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(len(text).to_bytes(8, "little") + text + data)
        return path

    return run


@pytest.fixture
def sdxl() -> dict[str, tuple[str, tuple[int, ...], bytes | None]]:
    """All of SDXL at a 64th of its widths, in F16, with right positions."""
    tensors = {
        entry.name: ("F16", narrow_shape(entry, 64), None) for entry in sdxl_tensors()
    }
    right = b"".join(at.to_bytes(8, "little") for at in range(77))
    return {**tensors, POSITIONS: ("I64", (1, 77), right)}
