"""The float32 weights of a small speech model, to narrower dtypes and back.

Its convolutions run over time, so they have three dimensions: no preset knows those for
sure as weights of a module that may be fp8. A rule file says so here.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

Convert = Callable[..., dict[str, Path]]
Tensors = dict[str, torch.Tensor]

MANTISSA_BITS = {"fp16": 10, "bf16": 7, "fp8": 3}
SMALLEST = {"fp16": 2.0**-24, "bf16": 2.0**-133, "fp8": 2.0**-9}
"""The least positive number of the dtype."""

CONVOLUTIONS = {f"conv{at}.weight" for at in (1, 2, 3, 4)}
RULES = """
[[rule]]
pattern = "conv*.weight"
dtype = "F8_E4M3"
reason = "convolutions over time"
"""


@pytest.fixture(scope="module")
def source(packaged: Callable[[str], Path]) -> Path:
    return packaged("silero-vad")


@pytest.fixture(scope="module")
def original(source: Path) -> Tensors:
    return safetensors.torch.load_file(source)


@pytest.fixture(scope="module")
def narrowed(
    convert: Convert, source: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The model in fp16, in bf16, and with its convolutions in fp8."""
    folder = tmp_path_factory.mktemp("silero")
    rules = folder / "convolutions.toml"
    rules.write_text(RULES)
    return {
        **convert(source, "fp16", "bf16", out=folder),
        **convert(source, "fp8", out=folder, options=(f"--rules={rules}",)),
    }


def changed(before: Tensors, after: Tensors) -> set[str]:
    """Return the tensors that have another dtype or other bits."""
    assert before.keys() == after.keys()
    return {
        name
        for name, tensor in before.items()
        if after[name].dtype != tensor.dtype
        or not torch.equal(after[name].view(torch.uint8), tensor.view(torch.uint8))
    }


def half_a_step(value: torch.Tensor, preset: str) -> torch.Tensor:
    """Return how far the nearest number of the preset's dtype can be at most."""
    relative = value.abs() * 2.0 ** -(MANTISSA_BITS[preset] + 1)
    return relative.clamp(min=SMALLEST[preset] / 2)


@pytest.mark.parametrize("preset", MANTISSA_BITS)
def test_values_are_within_half_a_step_after_the_way_back(
    preset: str,
    convert: Convert,
    narrowed: dict[str, Path],
    original: Tensors,
    tmp_path: Path,
) -> None:
    back = safetensors.torch.load_file(
        convert(narrowed[preset], "fp32", out=tmp_path)["fp32"]
    )

    assert back.keys() == original.keys()
    for name, tensor in original.items():
        error = (back[name].double() - tensor.double()).abs()
        assert (error <= half_a_step(tensor.double(), preset)).all()
        assert back[name].dtype is torch.float32
        assert back[name].shape == tensor.shape
    assert changed(original, back)  # something was rounded at all


@pytest.mark.parametrize(
    ("preset", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16)]
)
def test_every_tensor_has_16_bits_rounded_as_torch_rounds(
    preset: str, dtype: torch.dtype, narrowed: dict[str, Path], original: Tensors
) -> None:
    found = safetensors.torch.load_file(narrowed[preset])

    expected = {name: tensor.to(dtype) for name, tensor in original.items()}
    assert changed(expected, found) == set()


def test_rules_cast_the_convolutions_and_leave_all_else_bit_for_bit(
    narrowed: dict[str, Path], original: Tensors
) -> None:
    found = safetensors.torch.load_file(narrowed["fp8"])

    assert changed(original, found) == CONVOLUTIONS
    for name in CONVOLUTIONS:
        assert found[name].dtype is torch.float8_e4m3fn


@pytest.mark.parametrize("preset", ["fp8", "fp8-e5m2", "fp8-scaled"])
def test_without_rules_nothing_is_surely_a_weight_so_all_is_kept(
    preset: str, convert: Convert, source: Path, original: Tensors, tmp_path: Path
) -> None:
    found = safetensors.torch.load_file(convert(source, preset, out=tmp_path)[preset])

    assert changed(original, found) == set()


def test_narrower_and_wider_again_changes_nothing_the_second_time(
    convert: Convert, narrowed: dict[str, Path], tmp_path: Path
) -> None:
    half = narrowed["fp16"]
    wide = convert(half, "fp32", out=tmp_path)["fp32"]

    again = convert(wide, "fp16", out=tmp_path)["fp16"]

    assert again != half
    assert (
        changed(safetensors.torch.load_file(half), safetensors.torch.load_file(again))
        == set()
    )
