"""Dtypes in names and metadata, against what most values are."""

import shutil
from dataclasses import replace

import pytest
import safetensors.torch
import torch

from release.formats.checkpoint import SafetensorsCheckpoint
from release.verify.facts import header_findings

UNET = "model.diffusion_model.a.weight"
VAE = "first_stage_model.decoder.a.weight"
F16, BF16, F32 = torch.float16, torch.bfloat16, torch.float32
E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2


def codes(path):
    with SafetensorsCheckpoint(path) as checkpoint:
        return [each.code for each in header_findings(checkpoint)]


def saved(tmp_path, name, dtype, metadata=None, vae=F32):
    path = tmp_path / name
    tensors = {UNET: torch.ones(8, 8).to(dtype), VAE: torch.ones(4, 4).to(vae)}
    safetensors.torch.save_file(tensors, path, metadata)
    return path


TRUE_NAMES = [
    ("model.safetensors", F16),
    ("model-fp16.safetensors", F16),
    ("model.fp16.safetensors", F16),
    ("MODEL_FP16_pruned.safetensors", F16),
    ("model_bf16.safetensors", BF16),
    ("model-f32.safetensors", F32),
    ("model_fp8_e4m3fn.safetensors", E4M3),
    ("model-fp8.safetensors", E5M2),
    ("model-float8_e5m2.safetensors", E5M2),
    ("model-fp8-vae-fp32.safetensors", E4M3),
    ("sdxl-vae-fp16-fix.safetensors", F32),
    ("buffp16er.safetensors", F32),
    ("halfway-scaled.safetensors", F32),
    ("model-fp8-00001-of-00002.safetensors", F16),
]


@pytest.mark.parametrize(("name", "dtype"), TRUE_NAMES)
def test_true_names_are_not_accused(tmp_path, name, dtype):
    assert codes(saved(tmp_path, name, dtype)) == []


FALSE_NAMES = [
    ("model-fp8.safetensors", F16, "dtype-name"),
    ("model_fp16.safetensors", F32, "dtype-name"),
    ("model.bf16.safetensors", F16, "dtype-name"),
    ("model_fp8_e5m2.safetensors", E4M3, "dtype-name"),
    ("model-fp16.safetensors", E4M3, "dtype-name"),
    ("model_fp8_scaled.safetensors", E4M3, "scaled-name"),
    ("model_fp8_scaled.safetensors", F16, "dtype-name"),
]


@pytest.mark.parametrize(("name", "dtype", "code"), FALSE_NAMES)
def test_false_names_are_told(tmp_path, name, dtype, code):
    assert codes(saved(tmp_path, name, dtype)) == [code]


def test_share_and_dtypes_are_said(tmp_path):
    path = saved(tmp_path, "model-fp8.safetensors", F16)

    with SafetensorsCheckpoint(path) as checkpoint:
        (found,) = header_findings(checkpoint)

    assert found.severity == "warning"
    assert found.text == (
        "the name model-fp8.safetensors says F8_E4M3 or F8_E5M2, "
        "80 % of the values are F16"
    )


def test_scaled_fp8_stored_as_bytes_is_fp8(tmp_path, quantised):
    sample = quantised.SAMPLES["comfy-current"]()
    changes = {
        name.replace(".", "__"): replace(raw, code="U8")
        for name, raw in sample.tensors.items()
        if raw.code == "F8_E4M3"
    }
    path = sample.with_tensors(**changes).write(tmp_path)
    named = path.rename(tmp_path / "m-fp8_e4m3fn_scaled.safetensors")

    assert changes
    assert "dtype-name" not in codes(named)
    assert "scaled-name" not in codes(named)


METADATA = [
    ({"dtype": "torch.float16"}, []),
    ({"precision": "fp16"}, []),
    ({"unet_dtype": "fp16", "vae_dtype": "fp32"}, []),
    ({"dtype": "mixed"}, []),
    # Dtypes in which it computes well are no statement about how it is stored.
    ({"modelspec.unet_dtype": "bf16,fp32", "modelspec.vae_dtype": "bf16"}, []),
    ({"ss_mixed_precision": "bf16"}, []),
    ({"dtype": "float32"}, ["dtype-metadata"]),
    ({"unet_dtype": "fp32"}, ["dtype-metadata"]),
    ({"vae_dtype": "fp16"}, ["dtype-metadata"]),
    ({"krelease.variant": "fp8"}, []),
]


@pytest.mark.parametrize(("metadata", "expected"), METADATA)
def test_metadata_agrees_with_the_tensors(tmp_path, metadata, expected):
    assert codes(saved(tmp_path, "model.safetensors", F16, metadata)) == expected


@pytest.mark.parametrize("variant", ["fp16", "bf16", "fp32", "fp8-e5m2", "fp8-scaled"])
def test_every_variant_that_we_write_is_what_it_says(
    tmp_path, ingredients, krelease, variant
):
    source = shutil.copy(ingredients["base8"], tmp_path / "m.safetensors")
    krelease("convert", source, "--to", variant, "--quiet")
    (path,) = tmp_path.glob("m-*.safetensors")

    assert codes(path) == []


@pytest.mark.parametrize("said", ["fp8", "fp32", "bf16"])
def test_variant_that_the_tensors_refute_is_told(tmp_path, release_folder, said):
    original = release_folder / "kohaku-xl-gamma-rev2-fp16.safetensors"
    tensors = safetensors.torch.load_file(original)
    path = tmp_path / "m.safetensors"
    safetensors.torch.save_file(tensors, path, {"krelease.variant": said})

    assert codes(path) == ["dtype-variant"]
