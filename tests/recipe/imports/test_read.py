import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from release.errors import InputError, RecipeError
from release.recipe.imports.read import import_recipe

WEBUI = {
    "type": "webui",
    "primary_model_hash": "a" * 64,
    "secondary_model_hash": "b" * 64,
    "interp_method": "Weighted sum",
    "multiplier": 0.5,
}
MODEL = 'model "{}" model_config="sdxl-sgm" merge_space="weight"\n'
MECHA = (
    "version 0.1.0\n"
    + MODEL.format("a.safetensors")
    + MODEL.format("b.safetensors")
    + 'merge "weighted_sum" &0 &1\n'
)
MERGEKIT = "merge_method: linear\nmodels:\n- {model: a.ckpt, parameters: {weight: 1}}\n"


def safetensors(path: Path, metadata: dict[str, str]) -> Path:
    save_file({"x": np.zeros(2, np.float16)}, path, metadata=metadata)
    return path


def refused(path: Path) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        import_recipe(path)
    return caught.value


def test_a_checkpoint_is_told_by_its_content_whatever_its_name(tmp_path):
    metadata = {"sd_merge_recipe": json.dumps(WEBUI)}
    path = safetensors(tmp_path / "recipe.yaml", metadata)

    assert import_recipe(path).origin == "AUTOMATIC1111 or Forge"


def test_a_checkpoint_of_sd_mecha(tmp_path):
    path = safetensors(tmp_path / "m.safetensors", {"mecha_recipe": MECHA})

    assert import_recipe(path).origin == "sd-mecha"


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        (MECHA, "sd-mecha"),
        (MERGEKIT, "mergekit"),
        ("\ufeff" + MERGEKIT, "mergekit"),
        (json.dumps(WEBUI), "AUTOMATIC1111 or Forge"),
        (json.dumps({"sd_merge_recipe": WEBUI}), "AUTOMATIC1111 or Forge"),
        (json.dumps({"sd_merge_recipe": json.dumps(WEBUI)}), "AUTOMATIC1111 or Forge"),
    ],
)
def test_texts_are_told_by_their_content(tmp_path, text, origin):
    path = tmp_path / "something.txt"
    path.write_text(text, encoding="utf-8")

    assert import_recipe(path).origin == origin


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"\xff\xfe\x00", "import-text", "is not UTF-8 at byte 0"),
        (b"merge_method: \x00", "import-text", "NUL"),
        (b"x" * 1_048_577, "import-text", "holds 1,048,577 bytes"),
        (b"", "import-yaml", "expected a mapping"),
        (b"version 9", "import-mecha-version", "line 1"),
        (b'{"type": "webui"}', "import-method", "interp_method"),
        (b'{"type": "krelease"}', "import-origin", "got 'krelease'"),
        (b'{"mecha_recipe": 5}', "import-nothing", "neither"),
        (
            b'{"mecha_recipe": "version 1"}',
            "import-mecha-version",
            "mecha_recipe: line",
        ),
        (b'{"sd_merge_recipe": 5}', "import-field", "sd_merge_recipe: got '5'"),
    ],
)
def test_refusals_name_the_file_once(tmp_path, content, code, words):
    path = tmp_path / "input"
    path.write_bytes(content)

    error = refused(path)

    assert error.code == code
    assert str(error).startswith(f"{path}: ")
    assert str(error).count(str(path)) == 1
    assert words in str(error)
    assert error.hint


def test_a_merge_beyond_the_recipe_language_is_refused_at_once(tmp_path):
    path = tmp_path / "deep.mecha"
    lines = [f'merge "weighted_sum" &{at + 1} &0 0.12345678901' for at in range(1, 8)]
    path.write_text(MECHA + "\n".join(lines), encoding="utf-8")

    error = refused(path)

    assert error.code == "recipe-coefficient"
    assert f"{path}: as a recipe of ours: " in str(error)


def test_a_checkpoint_without_a_recipe_says_what_shows_more(tmp_path):
    error = refused(safetensors(tmp_path / "plain.safetensors", {"format": "pt"}))

    assert error.code == "import-nothing"
    assert "krelease recipe show" in error.hint


def test_a_folder_is_an_input_error(tmp_path):
    with pytest.raises(InputError):
        import_recipe(tmp_path)
