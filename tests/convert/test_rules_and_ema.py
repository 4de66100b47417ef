"""A user's own rules, and EMA weights."""

from pathlib import Path

import pytest
import safetensors.torch
import torch

UNET = "model.diffusion_model."
RULES = f"""
summary = "mine"
suffix = "keep.proj"

[[rule]]
pattern = "{UNET}*.proj_in.*"
dtype = "F16"
reason = "small and sensitive"

[[rule]]
component = "vae"
dtype = "F32"
"""


@pytest.fixture
def rules(workplace):
    (workplace / "my.toml").write_text(RULES)
    return "--rules=my.toml"


def dtypes(path: Path) -> dict[str, torch.dtype]:
    tensors = safetensors.torch.load_file(path)
    return {name: tensor.dtype for name, tensor in tensors.items()}


def test_own_rules_come_before_those_of_every_preset(convert, save, sd1, rules):
    done = convert(save(sd1), "--to=fp8", "--to=bf16", rules)

    found = {name: dtypes(done.path(name)) for name in ("fp8", "bf16")}
    projection = f"{UNET}input_blocks.1.1.proj_in.weight"
    assert found["fp8"][projection] == found["bf16"][projection] == torch.float16
    assert found["fp8"][f"{UNET}input_blocks.0.0.weight"] == torch.float8_e4m3fn
    assert found["bf16"][f"{UNET}input_blocks.0.0.weight"] == torch.bfloat16
    vae = "first_stage_model.decoder.conv_in.weight"
    assert found["fp8"][vae] == found["bf16"][vae] == torch.float32


def test_own_suffix_is_part_of_every_name(convert, save, sd1, rules):
    done = convert(save(sd1, name="m.v2-fp16.safetensors"), "--to=fp8-scaled", rules)

    assert done.path("fp8-scaled") == Path("m.v2-fp8_scaled-keep.proj.safetensors")
    record = done.variant("fp8-scaled")["record"]
    assert record == "m.v2-fp8_scaled-keep.proj.krelease.json"


def test_own_reasons_are_told_in_the_plan(convert, save, sd1, rules):
    plan = convert(save(sd1), "--to=fp8", rules, "--dry-run").variant("fp8")

    reasons = {name: each["reason"] for name, each in plan["tensors"].items()}
    assert reasons[f"{UNET}input_blocks.1.1.proj_in.bias"] == "small and sensitive"
    assert "my.toml" in reasons["first_stage_model.decoder.conv_in.weight"]


def test_rules_of_a_folder_are_about_the_names_of_single_files(
    convert, pipeline, workplace
):
    (workplace / "my.toml").write_text(
        f'[[rule]]\npattern = "{UNET}input_blocks.0.0.*"\ndtype = "F32"\n'
    )

    done = convert(pipeline, "--to=fp8", "--rules=my.toml", "--keep-layout")

    found = dtypes(Path("pipe-fp8/unet/diffusion_pytorch_model.safetensors"))
    assert found["conv_in.weight"] == found["conv_in.bias"] == torch.float32
    projection = "down_blocks.0.attentions.0.proj_in.weight"
    assert found[projection] == torch.float8_e4m3fn
    assert len(done.paths["fp8"]) == 3


def test_rules_that_make_the_vae_fp8_are_warned_about(convert, save, sd1, workplace):
    (workplace / "my.toml").write_text('[[rule]]\ncomponent="vae"\ndtype="fp8"\n')

    done = convert(save(sd1), "--to=fp16", "--rules=my.toml")

    assert "warning: fp16: 1 tensors of the VAE become fp8" in done.said


def test_old_names_of_the_text_encoder_are_mended_and_said(convert, save, sd1):
    right = "cond_stage_model.transformer.text_model."
    old = {
        name.replace(right, "cond_stage_model.transformer."): tensor
        for name, tensor in sd1.items()
    }

    done = convert(save(old), "--to=fp32")

    found = safetensors.torch.load_file(done.path("fp32"))
    assert found.keys() == sd1.keys()
    assert all(torch.equal(found[name], sd1[name]) for name in sd1)
    assert "3 tensors renamed: text_model. was missing" in done.said


@pytest.fixture
def with_ema(save, sd1):
    """A checkpoint in training: every U-Net tensor has an average, 0.5 more."""
    averages = {
        "model_ema." + name.removeprefix("model.").replace(".", ""): tensor + 0.5
        for name, tensor in sd1.items()
        if name.startswith(UNET)
    }
    counters = {
        "model_ema.decay": torch.tensor(0.9999),
        "model_ema.num_updates": torch.tensor(7, dtype=torch.int32),
    }
    return save({**sd1, **averages, **counters})


def test_ema_is_dropped_unless_asked_for(convert, with_ema, sd1):
    done = convert(with_ema, "--to=fp32")

    found = safetensors.torch.load_file(done.path("fp32"))
    assert found.keys() == sd1.keys()
    assert all(torch.equal(found[name], sd1[name]) for name in sd1)
    assert "EMA weights dropped: 7 tensors" in done.said


def test_ema_is_kept_beside_the_model(convert, with_ema, sd1):
    done = convert(with_ema, "--to=fp16", "--ema=keep")

    found = safetensors.torch.load_file(done.path("fp16"))
    n_unet = sum(name.startswith(UNET) for name in sd1)
    assert len(found) == len(sd1) + n_unet + 2
    assert found["model_ema.num_updates"].dtype == torch.int32
    assert "EMA" not in done.said


def test_ema_takes_the_models_place(convert, with_ema, sd1):
    done = convert(with_ema, "--to=fp32", "--ema=use")

    found = safetensors.torch.load_file(done.path("fp32"))
    assert found.keys() == sd1.keys()
    for name, tensor in sd1.items():
        expected = tensor + 0.5 if name.startswith(UNET) else tensor
        assert torch.equal(found[name], expected)
    assert "EMA weights take the model's place" in done.said


def test_ema_that_covers_a_part_is_warned_about(convert, save, sd1):
    name = f"{UNET}out.0.weight"
    path = save({**sd1, "model_ema.diffusion_modelout0weight": sd1[name] * 2})

    done = convert(path, "--to=fp32", "--ema=use")

    found = safetensors.torch.load_file(done.path("fp32"))
    assert torch.equal(found[name], sd1[name] * 2)
    assert "warning: 4 tensors have no EMA and keep their own values" in done.said


def test_ema_of_another_shape_is_refused(refused, save, sd1):
    path = save({**sd1, "model_ema.diffusion_modelout0weight": torch.ones(3)})

    found = refused(path, "--to=fp32", "--ema=use")

    assert (found.exit_code, found.code) == (4, "ema-shape")
    assert "--ema drop" in found.hint


def test_ema_cannot_be_used_from_a_folder(refused, pipeline):
    found = refused(pipeline, "--to=fp16", "--ema=use")

    assert (found.exit_code, found.code) == (4, "no-ema")
