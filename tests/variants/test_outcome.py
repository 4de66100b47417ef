"""What presets lead to: bytes by dtype, how programs count, and what is risky."""

from collections import Counter
from importlib import resources
from math import prod

import pytest

from release.numeric.dtype import Dtype
from release.variants.assign import assign, risks
from release.variants.outcome import majority
from release.variants.parse import parse_rules
from release.variants.preset import PRESET_NAMES, find_preset, presets

UNET_MATRICES = 2_232_647_680
UNET_CONVS = 333_232_640
UNET_BIASES = 995_204
POSITION_IDS = 77
ALL = 3_468_837_945
FLOATS = ALL - POSITION_IDS
CAST = UNET_MATRICES + UNET_CONVS + UNET_BIASES
LOGIT_SCALE = 1

COUNTS = {
    "fp32": {
        "F32": (2513, 4 * (FLOATS - LOGIT_SCALE)),
        "F16": (1, 2 * LOGIT_SCALE),
    },
    "fp16": {"F16": (2514, 2 * FLOATS)},
    "bf16": {
        "BF16": (2513, 2 * (FLOATS - LOGIT_SCALE)),
        "F16": (1, 2 * LOGIT_SCALE),
    },
    "fp8": {"F8_E4M3": (1168, CAST), "F16": (1346, 2 * (FLOATS - CAST))},
    "fp8-e5m2": {"F8_E5M2": (1168, CAST), "F16": (1346, 2 * (FLOATS - CAST))},
    "fp8-scaled": {
        "F8_E4M3": (743, UNET_MATRICES),
        "F16": (1771, 2 * (FLOATS - UNET_MATRICES)),
    },
}
"""Preset -> dtype -> tensors and bytes of SDXL, from the network's shapes."""


def under(preset, tensors, text=None):
    rules = parse_rules(text, origin="my.toml") if text else None
    return assign(find_preset(preset), tensors, architecture="sdxl", rules=rules)


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_tensors_and_bytes_of_each_dtype(sdxl, name):
    counts, nbytes = Counter(), Counter()
    for tensor, each in under(name, sdxl).items():
        counts[each.dtype.code] += 1
        nbytes[each.dtype.code] += prod(sdxl[tensor].shape) * each.dtype.bits // 8

    found = {code: (counts[code], nbytes[code]) for code in counts}
    assert found == {**COUNTS[name], "I64": (1, 8 * POSITION_IDS)}


@pytest.mark.parametrize(
    ("name", "payload", "gigabytes"),
    [
        ("fp32", 13_875_352_086, "13.88"),
        ("fp16", 6_937_676_352, "6.94"),
        ("bf16", 6_937_676_352, "6.94"),
        ("fp8", 4_370_800_828, "4.37"),
        ("fp8-e5m2", 4_370_800_828, "4.37"),
        ("fp8-scaled", 4_705_078_453, "4.71"),
    ],
)
def test_payload_of_a_full_size_file(sdxl, name, payload, gigabytes):
    marker = b'{"format": "float8_e4m3fn", "full_precision_matrix_mult": true}'
    beside = len(marker) + 4  # and one F32

    found = sum(
        prod(sdxl[tensor].shape) * each.dtype.bits // 8 + each.scaled * beside
        for tensor, each in under(name, sdxl).items()
    )

    assert found == payload
    assert f"{found / 1e9:.2f}" == gigabytes


def test_programs_recognise_the_plain_presets_as_fp8(sdxl):
    for name in ("fp8", "fp8-e5m2"):
        found = majority(under(name, sdxl), sdxl)

        assert (found.n_fp8_tensors, found.n_tensors) == (1168, 1680)
        assert f"{found.n_fp8_elements / found.n_elements:.3f}" == "1.000"
        assert found.n_elements - found.n_fp8_elements == 588_160  # the norms
        assert found.forge
        assert found.comfyui


def test_weights_without_biases_are_too_few_for_forge(sdxl):
    text = '[[rule]]\ncomponent = "unet"\nkind = "bias"\ndtype = "F16"'

    found = majority(under("fp8", sdxl, text), sdxl)

    assert (found.n_fp8_tensors, found.n_tensors) == (743 + 51, 1680)
    assert not found.forge
    assert found.comfyui


def test_a_unet_half_kept_is_not_fp8_for_either(sdxl):
    text = '[[rule]]\npattern = "*.transformer_blocks.*"\ndtype = "F16"'

    found = majority(under("fp8", sdxl, text), sdxl)

    assert not found.forge
    assert not found.comfyui


@pytest.mark.parametrize(("n_wide", "leads"), [(1, True), (2, False), (3, False)])
def test_a_tie_is_no_majority(checkpoint, n_wide, leads):
    prefix = "model.diffusion_model."
    small = {f"{prefix}a{n}.weight": (Dtype.F16, 4, 4) for n in range(2)}
    wide = {f"{prefix}b{n}.raw": (Dtype.F16, 4, 4) for n in range(n_wide)}
    tensors = checkpoint({**small, **wide})

    found = majority(under("fp8", tensors), tensors)

    assert (found.forge, found.comfyui) == (leads, leads)


@pytest.mark.parametrize("name", ["fp32", "fp16", "bf16", "fp8-scaled"])
def test_other_presets_are_not_plain_fp8_by_count(sdxl, name):
    assert not majority(under(name, sdxl), sdxl).forge


def test_a_checkpoint_without_a_unet_has_no_majority(checkpoint):
    tensors = checkpoint({"fc.weight": (Dtype.F16, 4, 4)})

    found = majority(under("fp8", tensors), tensors)

    assert (found.n_tensors, found.forge, found.comfyui) == (0, False, False)


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_presets_risk_nothing(sdxl, name):
    assert risks(under(name, sdxl)) == ()


@pytest.mark.parametrize(
    ("rule", "texts"),
    [
        ('component = "vae"\nkind = "conv"', ["72 tensors of the VAE"]),
        ('component = "clip_g"\nkind = "matrix"', ["96 tensors of the text encoders"]),
        (
            'component = ["clip_l", "vae"]\nkind = ["matrix", "conv"]',
            ["72 tensors of the VAE", "72 tensors of the text encoders"],
        ),
        (
            'component = "clip_l"\nkind = "matrix"\nscaled = true',
            ["72 tensors of the text encoders", "72 weights outside the U-Net"],
        ),
    ],
)
def test_users_rules_may_risk_something_and_are_told(sdxl, rule, texts):
    found = risks(under("fp8", sdxl, f'[[rule]]\n{rule}\ndtype = "fp8"'))

    assert [
        risk.partition(" become")[0].partition(" are ")[0] for risk in found
    ] == texts


def test_every_file_of_the_folder_is_a_preset_and_ends_in_a_rule_for_all():
    folder = resources.files("release.variants") / "presets"
    files = {entry.name.removesuffix(".toml") for entry in folder.iterdir()}

    assert files == set(PRESET_NAMES)
    for preset in presets():
        for rules in (preset.rules.known, preset.rules.unknown):
            assert not rules[-1].is_selective
            assert not any(rule.reason.startswith("preset ") for rule in rules)


def test_suffixes_and_precision_of_the_presets():
    assert {
        preset.name: (preset.suffix, preset.is_reduced) for preset in presets()
    } == {
        "fp32": ("fp32", False),
        "fp16": ("fp16", False),
        "bf16": ("bf16", False),
        "fp8": ("fp8", True),
        "fp8-e5m2": ("fp8_e5m2", True),
        "fp8-scaled": ("fp8_scaled", True),
    }
