"""The presets, as people and scripts read them."""

import json
import tomllib

import pytest

from release.variants.parse import parse_rules
from release.variants.preset import PRESET_NAMES, find_preset


def test_presets_are_listed_with_what_they_do(krelease):
    code, out, err = krelease("presets")

    assert (code, err) == (0, "")
    rows = [line.split(maxsplit=1) for line in out.splitlines()]
    assert [name for name, _ in rows] == list(PRESET_NAMES)
    assert all(summary == find_preset(name).summary for name, summary in rows)


def test_quiet_list_is_names(krelease):
    assert krelease("presets", "-q") == (0, "\n".join(PRESET_NAMES) + "\n", "")


def test_one_preset_is_shown_rule_by_rule_with_the_reasons(krelease):
    code, out, err = krelease("presets", "fp8-scaled")

    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"fp8-scaled: {find_preset('fp8-scaled').summary}"
    assert lines[1] == "Files: NAME-fp8_scaled.safetensors"
    known, unknown = (
        lines.index("SDXL, SD1.x and SD2.x"),
        lines.index("Other architectures"),
    )
    assert lines[known + 1].split()[:4] == ["unet:", "matrix", "F8_E4M3", "scaled"]
    assert lines[known + 2].endswith("ComfyUI has no scaled Conv2d")
    assert lines[unknown - 2].split()[:3] == ["everything", "else", "F16"]
    assert lines[unknown + 2].split()[:3] == ["everything", "else", "keep"]
    assert "position_ids" in lines[-1]


def test_uniform_preset_says_the_same_for_all_architectures(krelease):
    _, out, _ = krelease("presets", "bf16")

    assert "All architectures\n  every tensor  BF16  " in out
    assert "Other architectures" not in out


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_toml_is_a_file_of_rules(krelease, name):
    code, out, err = krelease("presets", name, "--toml")

    assert (code, err) == (0, "")
    assert out == find_preset(name).toml
    rules = parse_rules(out, origin=f"preset {name}")
    assert rules == find_preset(name).rules
    assert krelease("presets", name, "--toml", "--quiet") == (0, out, "")


def test_json_of_one_says_what_its_file_says(krelease):
    _, out, _ = krelease("presets", "fp8", "--json")
    stated = tomllib.loads(find_preset("fp8").toml)

    document = json.loads(out)
    (preset,) = document["presets"]
    assert document["schema"] == "krelease.presets/1"
    assert (preset["name"], preset["suffix"]) == ("fp8", stated["suffix"])
    assert [rule["reason"] for rule in preset["rules"]] == [
        rule["reason"] for rule in stated["rule"]
    ]
    assert preset["rules"][0] == {
        "patterns": [],
        "components": ["unet"],
        "kinds": ["matrix", "conv", "bias"],
        "dtype": "F8_E4M3",
        "scaled": False,
        "reason": stated["rule"][0]["reason"],
    }
    assert preset["unknown_rules"][-1]["dtype"] == "keep"
    assert preset["unknown_rules"][-1]["components"] == [
        "unet",
        "clip_l",
        "clip_g",
        "vae",
        "other",
    ]


def test_json_of_all_has_the_same_form(krelease):
    _, out, _ = krelease("presets", "--json")
    _, one, _ = krelease("presets", "fp8-scaled", "--json")

    listed = json.loads(out)["presets"]
    assert [preset["name"] for preset in listed] == list(PRESET_NAMES)
    assert listed[-1] == json.loads(one)["presets"][0]
    assert listed[-1]["rules"][0]["scaled"]


def test_unknown_preset_is_a_usage_error_with_a_guess(krelease):
    code, out, err = krelease("presets", "fp8-scale")

    assert (code, out) == (2, "")
    assert "unknown preset 'fp8-scale': expected one of fp32, fp16" in err
    assert "hint: did you mean fp8-scaled?" in err


@pytest.mark.parametrize("arguments", [["--toml"], ["fp8", "--toml", "--json"]])
def test_toml_is_of_one_preset_and_not_json(krelease, arguments):
    code, _, err = krelease("presets", *arguments)

    assert code == 2
    assert "error: --toml: expected the name of one preset, and no --json" in err


def test_help_explains_every_word_of_a_rule(krelease, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    _, out, _ = krelease("presets", "--help")

    text = " ".join(out.split())
    for preset in PRESET_NAMES:
        for rule in find_preset(preset).rules.known:
            assert all(kind.value in text for kind in rule.listed_kinds)
            assert all(part.value in text for part in rule.listed_components)
    for word in ("pattern", "component", "kind", "scaled", "reason", "unknown-rule"):
        assert word in text
