"""A tiny pipeline that diffusers saved is converted, and diffusers loads the result."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import safetensors.torch
import torch
import transformers
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

COMPONENTS = ("unet", "vae", "text_encoder")
VOCABULARY = {"<|startoftext|>": 0, "<|endoftext|>": 1, "a": 2, "b</w>": 3}
FLOATS = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp8": torch.float8_e4m3fn,
}

Run = Callable[..., Any]


@pytest.fixture(scope="module", autouse=True)
def silence() -> None:
    """Both libraries report every step on stderr."""
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    diffusers.utils.logging.set_verbosity(logging.CRITICAL)
    transformers.utils.logging.set_verbosity(logging.CRITICAL)


def text_encoder() -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(VOCABULARY),
            hidden_size=20,
            intermediate_size=40,
            num_hidden_layers=12,
            num_attention_heads=2,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline in shards, with a safety checker's weights. Never write to it."""
    torch.manual_seed(5)
    words = tmp_path_factory.mktemp("words")
    (words / "vocab.json").write_text(json.dumps(VOCABULARY))
    (words / "merges.txt").write_text("#version: 0.2\n")
    pipeline = StableDiffusionPipeline(
        unet=UNet2DConditionModel(
            norm_num_groups=4,
            cross_attention_dim=20,
            sample_size=8,
            block_out_channels=(4, 8, 16, 16),
            attention_head_dim=2,
        ),
        vae=AutoencoderKL(
            block_out_channels=(4, 8, 16, 16),
            norm_num_groups=4,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
        ),
        text_encoder=text_encoder(),
        tokenizer=CLIPTokenizer(str(words / "vocab.json"), str(words / "merges.txt")),
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    folder = tmp_path_factory.mktemp("saved") / "tiny"
    pipeline.save_pretrained(folder, max_shard_size="300KB")
    index = json.loads((folder / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    (folder / "model_index.json").write_text(json.dumps(index))
    checker = folder / "safety_checker"
    checker.mkdir()
    (checker / "config.json").write_text("{}")
    safetensors.torch.save_file({"w": torch.ones(3)}, checker / "model.safetensors")
    return folder


def stored(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Return component -> its tensors, as its files hold them."""
    return {
        component: {
            name: tensor
            for path in (folder / component).glob("*.safetensors")
            for name, tensor in safetensors.torch.load_file(path).items()
        }
        for component in COMPONENTS
    }


@pytest.mark.parametrize("preset", FLOATS)
def test_converted_folder_is_loaded_as_the_rounded_tensors(
    convert: Run, saved: Path, preset: str
) -> None:
    done = convert(saved, f"--to={preset}", "--keep-layout", "--out=new")

    folder = Path("new") / f"tiny-{preset}"
    loaded = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    assert loaded.safety_checker is None
    assert done.variant(preset)["indexes"] != []
    before, after = stored(saved), stored(folder)
    for component in COMPONENTS:
        state = getattr(loaded, component).state_dict()
        assert before[component].keys() == after[component].keys()
        for name, tensor in after[component].items():
            wanted = before[component][name].to(tensor.dtype)
            assert torch.equal(tensor.float(), wanted.float())
            assert torch.equal(state[name], wanted.float())
    dtypes = {tensor.dtype for tensor in after["unet"].values()}
    assert FLOATS[preset] in dtypes
    assert {t.dtype for t in after["vae"].values()} == {
        torch.float16 if preset == "fp8" else FLOATS[preset]
    }


def test_single_file_of_the_folder_is_loaded_as_the_same_tensors(
    convert: Run, saved: Path
) -> None:
    done = convert(saved, "--to=fp32", "--out=new")
    convert(saved, "--to=fp32", "--keep-layout", "--out=configs")
    for path in Path("configs").glob("**/*.safetensors*"):
        path.unlink()

    loaded = StableDiffusionPipeline.from_single_file(
        done.path("fp32"), config="configs/tiny-fp32", local_files_only=True
    )

    for component, tensors in stored(saved).items():
        state = getattr(loaded, component).state_dict()
        assert state.keys() >= tensors.keys()
        assert all(torch.equal(state[name], tensors[name]) for name in tensors)
