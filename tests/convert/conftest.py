"""`krelease convert` in this process, in a folder of its own."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

UNET = "model.diffusion_model."
TEXT = "cond_stage_model.transformer.text_model."
VAE = "first_stage_model."


@dataclass(frozen=True)
class Refusal:
    """How a command line was refused."""

    exit_code: int
    code: str
    message: str
    hint: str


@dataclass(frozen=True)
class Converted:
    """What a command line wrote, as its JSON document says, and what it said."""

    document: dict[str, Any]
    said: str

    @property
    def paths(self) -> dict[str, list[Path]]:
        """Variant -> its files of weights."""
        return {
            each["variant"]: [Path(file["path"]) for file in each["files"]]
            for each in self.document["variants"]
        }

    def path(self, variant: str) -> Path:
        """Return the only file of a variant."""
        (path,) = self.paths[variant]
        return path

    def variant(self, name: str) -> dict[str, Any]:
        """Return what the document says of a variant."""
        (found,) = (v for v in self.document["variants"] if v["variant"] == name)
        return found


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, empty but for what a test puts there."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("KRELEASE_THREADS", raising=False)
    return folder


@pytest.fixture
def convert(
    krelease: Callable[..., tuple[int, str, str]], workplace: Path
) -> Callable[..., Converted]:
    """Run `krelease convert`, which must succeed."""

    def run(*args: object) -> Converted:
        code, out, err = krelease("convert", *args, "--json")
        assert code == 0, err
        return Converted(json.loads(out), err)

    return run


@pytest.fixture
def refused(
    krelease: Callable[..., tuple[int, str, str]], workplace: Path
) -> Callable[..., Refusal]:
    """Run `krelease convert`, which must fail, say why, and change nothing."""

    def run(*args: object) -> Refusal:
        before = contents(workplace)
        code, out, err = krelease("convert", *args, "--json")
        assert contents(workplace) == before
        document = json.loads(out)
        assert document["schema"] == "krelease.error/1"
        assert document["exit_code"] == code
        assert document["hint"]
        assert "Traceback" not in err
        assert err.splitlines()[-2:] == [
            f"error: {document['message']}",
            f"hint: {document['hint']}",
        ]
        return Refusal(code, document["code"], document["message"], document["hint"])

    return run


@pytest.fixture
def listed() -> Callable[[Path], dict[str, bytes]]:
    """Return everything below a folder: path -> bytes; folders are empty."""
    return contents


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


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
