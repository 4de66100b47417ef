"""Tiny pipelines that diffusers saved, made into single files, loaded by diffusers."""

import json
import logging
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import diffusers
import pytest
import safetensors.torch
import torch
import transformers
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from release.architecture.diffusers.single_file import single_file_assemblies
from release.architecture.sdxl import check_sdxl
from release.formats.assembled import AssembledCheckpoint
from release.formats.checkpoint import Checkpoint, SafetensorsCheckpoint
from release.formats.diffusers_folder import DiffusersFolder
from release.formats.sharded import encode_index

VOCABULARY = {"<|startoftext|>": 0, "<|endoftext|>": 1, "a": 2, "b</w>": 3}
"""What a tokenizer needs to be loaded at all."""


class Case(NamedTuple):
    architecture: str
    pipeline: type[Any]
    make: Callable[[], dict[str, Any]]


def unet(**sizes: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        norm_num_groups=4, cross_attention_dim=20, sample_size=8, **sizes
    )


def sd_unet(*, linear: bool) -> UNet2DConditionModel:
    return unet(
        block_out_channels=(4, 8, 16, 16),
        attention_head_dim=2,
        use_linear_projection=linear,
    )


def vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(4, 8, 16, 16),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
    )


def text_config(width: int, n_layers: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=width,
        projection_dim=width,
        intermediate_size=2 * width,
        num_hidden_layers=n_layers,
        num_attention_heads=2,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def tokenizer(folder: Path) -> CLIPTokenizer:
    (folder / "vocab.json").write_text(json.dumps(VOCABULARY))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))


def sdxl() -> dict[str, Any]:
    return {
        "unet": unet(
            block_out_channels=(4, 8, 16),
            attention_head_dim=(1, 2, 2),
            down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * 2),
            up_block_types=(*("CrossAttnUpBlock2D",) * 2, "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=4,
            projection_class_embeddings_input_dim=12 + 6 * 4,
        ),
        "text_encoder": CLIPTextModel(text_config(8, 12)),
        "text_encoder_2": CLIPTextModelWithProjection(text_config(12, 32)),
    }


def sd1() -> dict[str, Any]:
    return {
        "unet": sd_unet(linear=False),
        "text_encoder": CLIPTextModel(text_config(20, 12)),
    }


def sd2() -> dict[str, Any]:
    return {
        "unet": sd_unet(linear=True),
        "text_encoder": CLIPTextModel(text_config(20, 23)),
    }


CASES = (
    Case("sdxl", StableDiffusionXLPipeline, sdxl),
    Case("sd1", StableDiffusionPipeline, sd1),
    Case("sd2", StableDiffusionPipeline, sd2),
)


only_sdxl = pytest.mark.parametrize(
    "saved", [pytest.param(CASES[0], id="sdxl")], indirect=True
)


class Saved(NamedTuple):
    case: Case
    folder: Path
    modules: dict[str, torch.nn.Module]


@pytest.fixture(scope="module", autouse=True)
def silence() -> None:
    """Both libraries report every step on stderr."""
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    diffusers.utils.logging.set_verbosity(logging.CRITICAL)
    transformers.utils.logging.set_verbosity(logging.CRITICAL)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.architecture)
def saved(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Saved:
    case: Case = request.param
    torch.manual_seed(5)
    modules = {**case.make(), "vae": vae()}
    parts: dict[str, Any] = {
        **modules,
        "scheduler": DDIMScheduler(steps_offset=1, clip_sample=False),
    }
    words = tokenizer(tmp_path_factory.mktemp("tokenizer"))
    parts["tokenizer"] = words
    if case.architecture == "sdxl":
        parts["tokenizer_2"] = words
    else:
        parts |= {"safety_checker": None, "feature_extractor": None}
        parts["requires_safety_checker"] = False
    folder = tmp_path_factory.mktemp(case.architecture) / "pipeline"
    case.pipeline(**parts).save_pretrained(folder)
    return Saved(case, folder, modules)


def read_all(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    tensors = {}
    for name, entry in checkpoint.tensors.items():
        data = bytearray(entry.nbytes)
        checkpoint.read_into(entry, 0, memoryview(data))
        tensors[name] = torch.frombuffer(data, dtype=torch.float32).reshape(entry.shape)
    return tensors


def write_single_file(saved: Saved, path: Path) -> None:
    folder = DiffusersFolder(saved.folder)
    architecture, assemblies = single_file_assemblies(folder.tensors, path=folder.path)
    assert architecture == saved.case.architecture
    with AssembledCheckpoint(folder, assemblies) as checkpoint:
        safetensors.torch.save_file(read_all(checkpoint), path, {"format": "pt"})


def index_of(folder: DiffusersFolder, index: PurePosixPath) -> bytes:
    """Return the shard index at `index`, made from what the checkpoint says."""
    files = [weights for weights in folder.weight_files if weights.index == index]
    return encode_index(
        {
            name.partition("/")[2]: weights.relative.name
            for weights in files
            for name in weights.tensors
        },
        data_nbytes=sum(
            folder.tensors[name].nbytes for weights in files for name in weights.tensors
        ),
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def copy_configs(saved: Saved, target: Path) -> None:
    """Copy what a folder needs besides weights, so that no weights can be loaded."""
    with DiffusersFolder(saved.folder) as folder:
        for file in folder.small_files:
            copy = target / file.relative
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.path.read_bytes())


def differing(pipeline: Any, modules: dict[str, torch.nn.Module]) -> list[str]:
    """Return the tensors that are missing, added or not equal bit for bit."""
    found = []
    for name, module in modules.items():
        expected = module.state_dict()
        got = getattr(pipeline, name).state_dict()
        found += [f"{name}/{key}" for key in expected.keys() ^ got.keys()]
        found += [
            f"{name}/{key}"
            for key in expected.keys() & got.keys()
            if not torch.equal(expected[key], got[key])
        ]
    return found


def test_diffusers_loads_the_single_file_as_the_same_tensors(
    saved: Saved, tmp_path: Path
) -> None:
    path = tmp_path / "single.safetensors"
    write_single_file(saved, path)
    copy_configs(saved, tmp_path / "configs")

    loaded = saved.case.pipeline.from_single_file(
        path, config=str(tmp_path / "configs"), local_files_only=True
    )

    assert differing(loaded, saved.modules) == []


@only_sdxl
def test_single_file_of_sdxl_has_the_names_and_ranks_of_sdxl(
    saved: Saved, tmp_path: Path
) -> None:
    path = tmp_path / "single.safetensors"
    write_single_file(saved, path)

    with SafetensorsCheckpoint(path) as checkpoint:
        shapes = {name: entry.shape for name, entry in checkpoint.tensors.items()}

    check_sdxl(path, shapes)
    assert len(shapes) == 2515 - len(("logit_scale", "position_ids"))


@only_sdxl
def test_folder_of_shards_of_a_variant_is_read_and_written_again_as_it_was(
    saved: Saved, tmp_path: Path
) -> None:
    pipeline = saved.case.pipeline.from_pretrained(saved.folder)
    original, copy = tmp_path / "original", tmp_path / "copy"
    pipeline.save_pretrained(original, variant="fp16", max_shard_size="300KB")

    with DiffusersFolder(original) as folder:
        tensors = read_all(folder)
        for file in folder.small_files:
            target = copy / file.relative
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.path.read_bytes())
        for weights in folder.weight_files:
            short = {name.partition("/")[2]: tensors[name] for name in weights.tensors}
            safetensors.torch.save_file(
                short, copy / weights.relative, {"format": "pt"}
            )
        for index in {weights.index for weights in folder.weight_files} - {None}:
            (copy / index).write_bytes(index_of(folder, index))
        warnings = folder.warnings

    assert len(folder.weight_files) > len(saved.modules)
    assert all(line.startswith("variant: ") for line in warnings)
    assert contents(copy) == contents(original)
    loaded = saved.case.pipeline.from_pretrained(copy, variant="fp16")
    assert differing(loaded, saved.modules) == []
