"""Users' rules: before those of the preset, and never without effect."""

from collections import Counter

import pytest

from release.errors import RecipeError
from release.numeric.dtype import Dtype
from release.variants.assign import assign
from release.variants.parse import read_rules
from release.variants.preset import PRESET_NAMES, find_preset

UNET = "model.diffusion_model."
ATTENTION = f"{UNET}input_blocks.4.1.transformer_blocks.0.attn1."


def test_users_rules_come_before_the_presets(sdxl, rules_file):
    path = rules_file("""
        [[rule]]
        pattern = ["*.proj_in.*", "*.proj_out.*"]
        component = "unet"
        dtype = "F16"
        reason = "my eyes"

        [[rule]]
        component = "vae"
        dtype = "keep"
    """)

    plain = assign(find_preset("fp8"), sdxl, architecture="sdxl")
    found = assign(
        find_preset("fp8"), sdxl, architecture="sdxl", rules=read_rules(path)
    )

    changed = {name for name in sdxl if found[name].dtype is not plain[name].dtype}
    # 11 spatial transformers, each with two Linear modules, weight and bias.
    assert len(changed) == 44
    assert {found[name].reason for name in changed} == {"my eyes"}
    vae = found["first_stage_model.decoder.conv_in.weight"]
    assert vae.reason == f"{path}: rule[1]"
    untouched = f"{ATTENTION}to_q.weight"
    assert found[untouched] == plain[untouched]


def test_first_of_two_rules_that_fit_wins(sdxl, rules_file):
    rules = read_rules(
        rules_file("""
        [[rule]]
        pattern = "*.attn1.to_q.weight"
        dtype = "F32"
        [[rule]]
        pattern = "*.to_q.weight"
        dtype = "BF16"
    """)
    )

    found = assign(find_preset("fp16"), sdxl, architecture="sdxl", rules=rules)

    assert found[f"{ATTENTION}to_q.weight"].dtype is Dtype.F32
    assert (
        found[f"{ATTENTION.replace('attn1', 'attn2')}to_q.weight"].dtype is Dtype.BF16
    )


def test_scaled_rule_of_a_user_leaves_convs_to_the_preset(sdxl, rules_file):
    rules = read_rules(
        rules_file("""
        [[rule]]
        component = "unet"
        kind = "matrix"
        dtype = "fp8-e5m2"
        scaled = true
    """)
    )

    found = assign(find_preset("fp8"), sdxl, architecture="sdxl", rules=rules)

    assert Counter((each.dtype, each.scaled) for each in found.values()) == {
        (Dtype.F8_E5M2, True): 743,
        (Dtype.F8_E4M3, False): 51 + 374,
        (Dtype.F16, False): 2515 - 1168 - 1,
        (Dtype.I64, False): 1,
    }


def test_rule_over_everything_leaves_copied_tensors_alone(sdxl, rules_file):
    rules = read_rules(rules_file('[[rule]]\ndtype = "F32"\n'))

    found = assign(find_preset("fp8"), sdxl, architecture="sdxl", rules=rules)

    copied = {name for name, each in found.items() if each.dtype is not Dtype.F32}
    assert {name.rpartition(".")[2] for name in copied} == {
        "position_ids",
        "logit_scale",
    }


BOTH = """
    [[rule]]
    pattern = "layers.*"
    dtype = "F32"
    [[unknown-rule]]
    pattern = "layers.*"
    dtype = "BF16"
"""
ONE = '[[rule]]\npattern = "layers.*"\ndtype = "F32"\n'


@pytest.mark.parametrize(
    ("text", "architecture", "dtype"),
    [
        (BOTH, "unknown", Dtype.BF16),
        (BOTH, "sdxl", Dtype.F32),
        (ONE, "unknown", Dtype.F32),
        (ONE, "sdxl", Dtype.F32),
    ],
)
def test_unknown_architectures_have_their_own_rules_where_a_file_has_some(
    checkpoint, rules_file, text, architecture, dtype
):
    tensors = checkpoint({"layers.0.query.weight": (Dtype.F32, 8, 8)})
    rules = read_rules(rules_file(text))

    found = assign(find_preset("fp16"), tensors, architecture=architecture, rules=rules)

    assert found["layers.0.query.weight"].dtype is dtype


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_printed_preset_is_a_file_of_rules_that_means_the_same(sdxl, rules_file, name):
    preset = find_preset(name)
    rules = read_rules(rules_file(preset.toml))

    found = assign(find_preset("bf16"), sdxl, architecture="sdxl", rules=rules)

    assert found == assign(preset, sdxl, architecture="sdxl")


@pytest.mark.parametrize(
    ("rule", "message", "hint"),
    [
        ('pattern = "attn9"', "rule[1] ('attn9'): fits no tensor", "whole name"),
        (
            'pattern = "attn1.to_q"',
            "rule[1] ('attn1.to_q'): fits no tensor",
            "did you mean '*attn1.to_q*'? it fits 70",
        ),
        (
            'pattern = "*.attn1.to_q.*"\ncomponent = "vae"',
            "rule[1] ('*.attn1.to_q.*': vae): fits no tensor",
            "another component or kind",
        ),
        (
            'component = "other"\nkind = ["conv", "norm"]',
            "rule[1] (other: conv, norm): fits no tensor",
            "has no such part",
        ),
    ],
)
def test_rule_that_fits_nothing_is_refused(sdxl, rules_file, rule, message, hint):
    path = rules_file(
        f'[[rule]]\ncomponent = "vae"\ndtype = "F32"\n[[rule]]\n{rule}\ndtype = "F32"'
    )

    with pytest.raises(RecipeError) as caught:
        assign(find_preset("fp8"), sdxl, architecture="sdxl", rules=read_rules(path))

    assert (caught.value.code, caught.value.exit_code) == ("rule-unused", 3)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert hint in caught.value.hint


def test_rule_for_copied_tensors_alone_is_refused_with_the_reason(sdxl, rules_file):
    path = rules_file('[[rule]]\npattern = "*logit_scale"\ndtype = "F32"')

    with pytest.raises(RecipeError) as caught:
        assign(find_preset("fp8"), sdxl, architecture="sdxl", rules=read_rules(path))

    assert caught.value.code == "rule-copied"
    assert "logit_scale (logit_scale is a training constant)" in str(caught.value)
    assert "copied bit for bit" in caught.value.hint


def test_rule_that_keeps_copied_tensors_is_granted(sdxl, rules_file):
    rules = read_rules(rules_file('[[rule]]\npattern = "*logit_scale"\ndtype = "keep"'))

    found = assign(find_preset("fp32"), sdxl, architecture="sdxl", rules=rules)

    assert found["conditioner.embedders.1.model.logit_scale"].dtype is Dtype.F16


def test_hostile_pattern_cannot_turn_the_line_around(sdxl, rules_file):
    path = rules_file('[[rule]]\npattern = "a\\u202eb\\n"\ndtype = "F32"')

    with pytest.raises(RecipeError) as caught:
        assign(find_preset("fp8"), sdxl, architecture="sdxl", rules=read_rules(path))

    assert "a\\u202eb\\u000a" in str(caught.value)
    assert "\u202e" not in str(caught.value) + caught.value.hint
