"""A converted checkpoint with its record beside it."""

from pathlib import Path

import pytest
import safetensors.torch
import torch

from release.convert.options import ConvertOptions
from release.convert.plan import plan_convert
from release.convert.run import convert
from release.convert.source import SourceOptions, open_source
from release.progress import NoProgress
from release.variants.preset import find_preset


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    """A small checkpoint that was converted to fp16."""
    tensors = {"a.weight": torch.ones(300, 7), "b.bias": torch.arange(5) / 3}
    safetensors.torch.save_file(tensors, tmp_path / "small.safetensors")
    options = ConvertOptions((find_preset("fp16"),))
    with open_source(tmp_path / "small.safetensors", SourceOptions()) as source:
        plan = plan_convert(source, options)
        convert(plan, tmp_path, threads=1, progress=NoProgress())
    (tmp_path / "small.safetensors").unlink()
    return tmp_path / "small-fp16.safetensors"
