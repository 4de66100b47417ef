"""What readers copy: commands and programs that are whole, with every text literal."""

import ast
from typing import Any

import pytest

from release.card.files import vram_text
from release.card.programs import programs_section
from release.definition import Definition
from release.manifest import Manifest

TRICKS = ['a", width=1) #', "a\\", "'''", "{x}", "\u202e\x07", "日本, 1girl"]


def calls(code: str) -> dict[str, ast.Call]:
    """Return the calls of a program by the name that is called."""
    found = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    return {
        node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id: node  # type: ignore[attr-defined]
        for node in found
    }


def test_program_names_the_full_file_at_the_tag(
    definition: Definition, manifest: Manifest
) -> None:
    found: Any = programs_section(definition, manifest)
    load = calls(found["diffusers"])["from_single_file"]

    assert ast.literal_eval(load.args[0]) == (
        "https://huggingface.co/KBlueLeaf/Kohaku-XL-gamma/blob/rev2/"
        "kohaku-xl-gamma-rev2.fp16.safetensors"
    )
    assert "torch.float16" in found["diffusers"]
    assert found["reduced"] == "kohaku-xl-gamma-rev2.fp8.safetensors"
    assert "storage_dtype=torch.float8_e4m3fn" in found["layerwise"]
    ast.parse(found["layerwise"])


@pytest.mark.parametrize("text", TRICKS)
def test_prompt_is_a_string_of_the_program_and_nothing_else(
    gamma: dict[str, Any], manifest: Manifest, text: str
) -> None:
    gamma["usage"] |= {"example_prompt": text, "example_negative_prompt": text}

    code: Any = programs_section(Definition.model_validate(gamma), manifest)[
        "diffusers"
    ]

    made = calls(code)["pipe"]
    keywords = {each.arg: each.value for each in made.keywords}
    assert ast.literal_eval(made.args[0]) == text.strip()
    assert ast.literal_eval(keywords["negative_prompt"]) == text.strip()
    assert set(keywords) == {
        "negative_prompt",
        "guidance_scale",
        "width",
        "height",
    }


def test_release_without_fp8_has_no_word_of_it(
    definition: Definition, document: dict[str, Any]
) -> None:
    document["checkpoints"] = document["checkpoints"][1:]

    found = programs_section(definition, Manifest.model_validate(document))

    assert (found["reduced"], found["layerwise"]) == ("", "")


def test_vram_is_the_unet_and_two_gigabytes_rounded_up(manifest: Manifest) -> None:
    fp8, fp16 = manifest.checkpoints

    # 1280 x 2,005,831 weights, 1280 biases, a 320 x 4 x 3 x 3 convolution, 320 more.
    assert vram_text(fp16) == "7.2 GB"  # 5.135 GB + 2 GB
    assert vram_text(fp8) == "4.6 GB"  # 2.567 GB + 2 GB
