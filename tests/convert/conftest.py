"""`krelease convert` in this process, in a folder of its own."""

import importlib.util
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import pytest
import safetensors.torch
import torch

UNET = "model.diffusion_model."
TEXT = "cond_stage_model.transformer.text_model."
VAE = "first_stage_model."


def load(path: Path) -> ModuleType:
    """Return a module of the tests, which are no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


command_line = load(Path(__file__).parents[1] / "command_line.py")
workplace = command_line.here


@pytest.fixture
def convert(krelease, workplace: Path):
    """Run `krelease convert`, which must succeed."""
    return lambda *args: command_line.written(krelease, "convert", *args)


@pytest.fixture
def refused(krelease, workplace: Path):
    """Run `krelease convert`, which must fail, say why, and change nothing."""
    return lambda *args: command_line.refusal(krelease, workplace, "convert", *args)


@pytest.fixture
def listed() -> Callable[[Path], dict[str, bytes]]:
    """Return everything below a folder: path -> bytes; folders are empty."""
    return command_line.contents


@pytest.fixture
def save(workplace: Path) -> Callable[..., Path]:
    """Write tensors as a safetensors file."""

    def write(
        tensors: Mapping[str, torch.Tensor],
        metadata: Mapping[str, str] | None = None,
        name: str = "model.safetensors",
    ) -> Path:
        path = workplace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file(
            dict(tensors), path, None if metadata is None else dict(metadata)
        )
        return Path(name)

    return write


@pytest.fixture
def sd1() -> dict[str, torch.Tensor]:
    """A few tensors of every part of Stable Diffusion 1, in F32."""
    generator = torch.Generator().manual_seed(1)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * 0.05

    return {
        f"{UNET}input_blocks.0.0.weight": noise(8, 4, 3, 3),
        f"{UNET}input_blocks.0.0.bias": noise(8),
        f"{UNET}input_blocks.1.1.proj_in.weight": noise(8, 8),
        f"{UNET}input_blocks.1.1.proj_in.bias": noise(8),
        f"{UNET}out.0.weight": 1 + noise(8),
        f"{TEXT}encoder.layers.0.mlp.fc1.weight": noise(16, 8),
        f"{TEXT}encoder.layers.0.mlp.fc1.bias": noise(16),
        f"{TEXT}embeddings.position_ids": torch.arange(77).view(1, 77),
        f"{VAE}decoder.conv_in.weight": noise(4, 4, 3, 3),
    }


@pytest.fixture
def pipeline(workplace: Path, sd1: dict[str, torch.Tensor]) -> Path:
    """A diffusers folder of a few tensors, with a safety checker without weights."""
    generator = torch.Generator().manual_seed(3)
    matrix = torch.randn(8, 8, 1, 1, generator=generator) * 0.05
    weights = {
        "unet/diffusion_pytorch_model": {
            "conv_in.weight": sd1[f"{UNET}input_blocks.0.0.weight"],
            "conv_in.bias": sd1[f"{UNET}input_blocks.0.0.bias"],
            "down_blocks.0.attentions.0.proj_in.weight": matrix,
            "conv_norm_out.weight": sd1[f"{UNET}out.0.weight"],
        },
        "vae/diffusion_pytorch_model": {
            "decoder.conv_in.weight": sd1[f"{VAE}decoder.conv_in.weight"],
            "decoder.mid_block.attentions.0.to_q.weight": matrix[:, :, 0, 0] * 2,
        },
        "text_encoder/model": {
            "text_model.encoder.layers.0.mlp.fc1.weight": sd1[
                f"{TEXT}encoder.layers.0.mlp.fc1.weight"
            ],
            "text_model.embeddings.position_ids": torch.arange(77).view(1, 77),
        },
    }
    texts = {
        "model_index.json": json.dumps(
            {
                "_class_name": "StableDiffusionPipeline",
                "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
                "scheduler": ["diffusers", "DDIMScheduler"],
                "text_encoder": ["transformers", "CLIPTextModel"],
                "tokenizer": ["transformers", "CLIPTokenizer"],
                "unet": ["diffusers", "UNet2DConditionModel"],
                "vae": ["diffusers", "AutoencoderKL"],
            }
        ),
        "scheduler/scheduler_config.json": "{}",
        "tokenizer/vocab.json": '{"a": 0}',
        "unet/config.json": '{"sample_size": 8}',
    }
    folder = workplace / "pipe"
    for name, tensors in weights.items():
        path = folder / f"{name}.safetensors"
        path.parent.mkdir(parents=True)
        safetensors.torch.save_file(tensors, path, {"format": "pt"})
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return Path("pipe")
