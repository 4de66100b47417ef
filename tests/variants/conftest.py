"""SDXL as published in float16, and other checkpoints by name and shape alone."""

import pytest

from release.architecture.sdxl import sdxl_tensors
from release.formats.header import TensorSpec
from release.numeric.dtype import Dtype


@pytest.fixture(scope="session")
def sdxl():
    """Every tensor of SDXL, at full width, in F16 but for its indices."""
    return {
        tensor.name: TensorSpec(
            tensor.name,
            Dtype.F16 if tensor.dtype.is_arithmetic else tensor.dtype,
            tensor.shape,
        )
        for tensor in sdxl_tensors()
    }


@pytest.fixture
def checkpoint():
    """Make tensors from keywords or pairs: name -> (dtype, *shape)."""

    def make(tensors):
        return {
            name: TensorSpec(name, dtype, tuple(shape))
            for name, (dtype, *shape) in tensors.items()
        }

    return make


@pytest.fixture
def rules_file(tmp_path):
    """Write a file of rules and return its path."""

    def write(text):
        path = tmp_path / "my.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write
