"""Text encoders whose names lack `text_model.`."""

from pathlib import Path

import pytest

from release.architecture.nai import nai_renames
from release.architecture.sdxl import sdxl_tensors
from release.errors import TensorMismatchError

PATH = Path("some.safetensors")
ROOT = "cond_stage_model.transformer."
ENDINGS = (
    "embeddings.position_ids",
    "embeddings.token_embedding.weight",
    "encoder.layers.0.self_attn.q_proj.weight",
    "encoder.layers.11.mlp.fc2.bias",
    "final_layer_norm.bias",
)


def test_text_model_is_inserted():
    names = [f"{ROOT}{ending}" for ending in ENDINGS]

    assert nai_renames(names, path=PATH) == {
        f"{ROOT}{ending}": f"{ROOT}text_model.{ending}" for ending in ENDINGS
    }


def test_right_names_stay():
    names = [f"{ROOT}text_model.{ending}" for ending in ENDINGS]
    others = [f"{ROOT}embeddings_of_another_kind", "model.diffusion_model.out.0.bias"]

    assert nai_renames([*names, *others], path=PATH) == {}


def test_sdxl_has_nothing_to_rename():
    assert nai_renames((e.name for e in sdxl_tensors()), path=PATH) == {}


def test_both_names_at_once_are_refused():
    names = [f"{ROOT}{ENDINGS[0]}", f"{ROOT}text_model.{ENDINGS[0]}"]

    with pytest.raises(TensorMismatchError, match="with and without") as caught:
        nai_renames(names, path=PATH)
    assert caught.value.code == "nai-names"
