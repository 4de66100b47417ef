import json
from fractions import Fraction

import pytest

from release.errors import RecipeError
from release.recipe.imports.read import import_metadata
from release.recipe.imports.to_toml import to_toml

A, B, C = "a" * 64, "b" * 64, "c" * 64
MODELS = {
    A: {"name": "kohaku-xl-beta7", "legacy_hash": "0123abcd", "sd_merge_recipe": None},
    B: {"name": "animagine xl 3.safetensors", "legacy_hash": "89abcdef"},
    C: {"name": "animagine-xl-2.0", "legacy_hash": None, "sd_merge_recipe": {"a": 1}},
}
RECIPE = {
    "type": "webui",
    "primary_model_hash": A,
    "secondary_model_hash": B,
    "tertiary_model_hash": C,
    "interp_method": "Add difference",
    "multiplier": 0.8,
    "save_as_half": True,
    "custom_name": "rev1",
    "config_source": 0,
    "bake_in_vae": "None",
    "discard_weights": "",
    "is_inpainting": False,
    "is_instruct_pix2pix": False,
}


def header(recipe=None, models=MODELS, **changes):
    recipe = {**(RECIPE if recipe is None else recipe), **changes}
    return {
        "format": "pt",
        "sd_merge_recipe": json.dumps(recipe),
        "sd_merge_models": json.dumps(models),
    }


def refused(**changes) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        import_metadata(header(**changes))
    return caught.value


def test_add_difference_becomes_a_sum_with_the_same_coefficients(rows_of):
    imported = import_metadata(header())

    rows = rows_of(imported)

    assert imported.steps == (
        (
            "merged",
            "kohaku_xl_beta7 + 0.8 * (animagine_xl_3 - animagine_xl_2_0)",
        ),
    )
    expected = {
        "animagine_xl_2_0": Fraction(-4, 5),
        "animagine_xl_3": Fraction(4, 5),
        "kohaku_xl_beta7": Fraction(1),
    }
    assert all(row == expected for row in rows.values())


def test_weighted_sum_becomes_lerp(rows_of):
    imported = import_metadata(header(interp_method="Weighted sum", multiplier=0.3))

    rows = rows_of(imported)

    assert imported.steps == (("merged", "lerp(kohaku_xl_beta7, animagine_xl_3, 0.3)"),)
    assert rows["M00/unet"] == {
        "animagine_xl_3": Fraction(3, 10),
        "kohaku_xl_beta7": Fraction(7, 10),
    }


def test_no_interpolation_is_the_first_model_alone(rows_of):
    imported = import_metadata(
        header(interp_method="No interpolation", secondary_model_hash=None)
    )

    assert [each.name for each in imported.ingredients] == ["kohaku_xl_beta7"]
    assert rows_of(imported)["BASE/clip_l"] == {"kohaku_xl_beta7": 1}


def test_the_multiplier_is_the_decimal_of_the_text_not_a_float():
    text = json.dumps(RECIPE).replace("0.8", "0.10000000000000000000001")

    imported = import_metadata({"sd_merge_recipe": text})

    assert "0.10000000000000000000001 * (" in imported.steps[0][1]


def test_an_exponent_is_written_out():
    text = json.dumps(RECIPE).replace("0.8", "8e-3")

    imported = import_metadata({"sd_merge_recipe": text})

    assert " + 0.008 * (" in imported.steps[0][1]


def test_ingredients_have_hashes_titles_and_files_but_no_folders():
    models = {**MODELS, A: {"name": "C:\\Users\\me\\beta7.ckpt", "legacy_hash": "x"}}

    imported = import_metadata(header(models=models))

    first, second, third = imported.ingredients
    assert (first.sha256, first.file, first.autov1) == (A, "beta7.ckpt", "")
    assert (second.file, second.autov1) == ("animagine xl 3.safetensors", "89abcdef")
    assert (third.file, third.title) == ("", "animagine-xl-2.0")
    assert "Users" not in to_toml(imported)


def test_a_model_that_no_map_knows_is_imported_with_a_warning():
    imported = import_metadata(header(models={}))

    assert [each.name for each in imported.ingredients] == [
        "model_a",
        "model_b",
        "model_c",
    ]
    assert "aaaaaaaaaa is not in sd_merge_models" in imported.warnings[0]


def test_a_model_without_a_hash_is_imported_with_a_warning():
    imported = import_metadata(header(primary_model_hash=None))

    assert imported.ingredients[0].sha256 == ""
    assert "primary_model_hash: no hash was recorded" in imported.warnings[0]


def test_the_same_model_twice_is_one_ingredient(rows_of):
    imported = import_metadata(header(tertiary_model_hash=A))

    assert len(imported.ingredients) == 2
    assert rows_of(imported)["IN00/unet"]["kohaku_xl_beta7"] == Fraction(1, 5)


def test_two_models_of_one_title_get_two_names():
    models = {A: {"name": "mix"}, B: {"name": "mix"}, C: {"name": "mix"}}

    imported = import_metadata(header(models=models))

    assert [each.name for each in imported.ingredients] == ["mix", "mix_2", "mix_3"]


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("lerp", "lerp_2"),
        ("merge", "merge_2"),
        ("merged", "merged_2"),
        ("part_1", "model_part_1"),
        ("3.0 final", "model_3_0_final"),
        ("гамма", "model"),
        ("", "model_a"),
        ("../../x; rm.ckpt", "x_rm"),
        ("c:\\models\\y", "y"),
        ("n" * 300, "n" * 40),
    ],
)
def test_titles_become_names_of_the_language(title, name, rows_of):
    imported = import_metadata(header(models={A: {"name": title}}))

    assert imported.ingredients[0].name == name
    assert name in rows_of(imported)["M00/unet"]


def test_a_baked_vae_is_an_ingredient_that_the_vae_is_copied_from(rows_of):
    imported = import_metadata(header(bake_in_vae="sdxl_vae.safetensors"))

    assert imported.vae == "baked_vae"
    assert imported.vae_hint == "sdxl_vae.safetensors"
    assert imported.ingredients[-1].file == "sdxl_vae.safetensors"
    assert "whose hash was not recorded" in imported.warnings[-1]
    assert rows_of(imported)["BASE/vae"] == {"baked_vae": 1}


def test_removed_tensors_that_sdxl_never_had_are_a_note():
    imported = import_metadata(header(discard_weights="model_ema."))

    assert "removed no tensor that SDXL has" in imported.notes[-1]


@pytest.mark.parametrize(
    "pattern", ["first_stage_model", "x|vae|decoder", "(a+)+$", "first.stage", "[^x]"]
)
def test_removed_tensors_of_sdxl_and_wild_patterns_are_refused(pattern):
    error = refused(discard_weights=pattern)

    assert error.code == "import-discard-weights"
    assert error.exit_code == 3
    assert "sd_merge_recipe.discard_weights" in str(error)


def test_save_as_half_is_a_hint():
    assert import_metadata(header()).dtype_hint == "F16"
    assert import_metadata(header(save_as_half=False)).dtype_hint == ""


def test_an_unknown_member_is_a_warning():
    assert "not heeded: turbo" in import_metadata(header(turbo=1)).warnings[-1]


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"interp_method": "Sigmoid"}, "import-method", "interp_method: got 'Sigmoid'"),
        (
            {"interp_method": 3},
            "import-field",
            "interp_method: got '3', expected a text",
        ),
        ({"multiplier": "a"}, "import-number", "multiplier: got 'a'"),
        ({"multiplier": None}, "import-number", "multiplier: got nothing"),
        ({"multiplier": True}, "import-number", "multiplier: got true"),
        ({"multiplier": 1e300}, "import-number", "expected a number up to 1,000"),
        ({"multiplier": 1001}, "import-number", "expected a number up to 1,000"),
        ({"multiplier": 1e-30}, "import-number", "at most 24 decimals"),
        ({"primary_model_hash": "zz"}, "import-hash", "primary_model_hash: got 'zz'"),
        ({"secondary_model_hash": "b" * 63}, "import-hash", "expected a hash of 64"),
        ({"is_inpainting": True}, "import-inpainting", "is_inpainting"),
        ({"is_instruct_pix2pix": True}, "import-inpainting", "is_instruct_pix2pix"),
        ({"save_as_half": "yes"}, "import-field", "save_as_half: got 'yes'"),
        ({"type": "other-merger"}, "import-origin", "type: got 'other-merger'"),
        ({"type": "sd-webui-model-mixer"}, "import-origin", "got 'sd-webui-model-mixe"),
        ({"type": ["webui"]}, "import-origin", "type"),
    ],
)
def test_what_is_not_supported_is_refused_by_place(changes, code, words):
    error = refused(**changes)

    assert error.code == code
    assert words in str(error)
    assert error.hint


def test_recipe_and_models_may_be_objects_in_a_json_text():
    from release.recipe.imports.read import import_text

    text = json.dumps({"sd_merge_recipe": RECIPE, "sd_merge_models": MODELS})

    assert import_text(text) == import_metadata(header())
    assert import_text(json.dumps(RECIPE)).origin == "AUTOMATIC1111 or Forge"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "import-json"),
        ('{"type": "webui", "type": "webui"}', "import-json"),
        ('{"multiplier": NaN}', "import-json"),
        ('{"a": ' * 200 + "1" + "}" * 200, "import-json"),
        ('{"a": ' * 100_000, "import-json"),
        ('{"a": "\\ud800"}', "import-json"),
        ('{"a": 1' + "0" * 400 + "}", "import-json"),
        ("[]", "import-json"),
        ("{" + " " * 1_100_000 + "}", "import-too-large"),
        ("null", "import-nothing"),
        ("", "import-nothing"),
    ],
)
def test_hostile_json_is_refused(text, code):
    with pytest.raises(RecipeError) as caught:
        import_metadata({"sd_merge_recipe": text})

    assert caught.value.code == code


def test_a_header_without_a_recipe_says_so():
    with pytest.raises(RecipeError, match="neither sd_merge_recipe nor mecha_recipe"):
        import_metadata({"format": "pt"})


def test_foreign_text_is_escaped_in_the_toml_and_reads_back(rows_of):
    models = {A: {"name": 'x"\n[steps]\u202e\x1b[31m\\'}}
    imported = import_metadata(header(models=models, note="\x1b]0;x\n[output]"))

    text = to_toml(imported)

    assert "\x1b" not in text
    assert "\u202e" not in text
    assert text.count("\n[steps]") == 1
    assert rows_of(imported)


def test_the_same_import_writes_the_same_text():
    assert to_toml(import_metadata(header())) == to_toml(import_metadata(header()))


def test_the_whole_toml_of_an_import():
    text = to_toml(import_metadata(header()))

    assert text == GOLDEN


GOLDEN = f"""\
# Imported from AUTOMATIC1111 or Forge.
# Note: the origin computes in the file's dtype and keeps tensors that B or C lacks \
from A; here such a file is refused
# The origin stored the result as F16.

[recipe]
schema = 1
arch = "sdxl"
convention = "supermerger"
vae = "merge"
missing = "error"

[ingredients]
kohaku_xl_beta7 = {{ title = "kohaku-xl-beta7", sha256 = "{A}" }}
animagine_xl_3 = {{ file = "animagine xl 3.safetensors", sha256 = "{B}" }}
animagine_xl_2_0 = {{ title = "animagine-xl-2.0", sha256 = "{C}" }}

[steps]
merged = "kohaku_xl_beta7 + 0.8 * (animagine_xl_3 - animagine_xl_2_0)"

[output]
from = "merged"
"""
