import json
from fractions import Fraction

import pytest

from release.errors import RecipeError
from release.recipe.imports.read import import_metadata

A, B, C = "a" * 64, "b" * 64, "c" * 64
MODELS = {A: {"name": "A"}, B: {"name": "B"}, C: {"name": "C"}}
WEIGHTS = [0.01 * at for at in range(1, 20)]
LIST = f"0.5,[{[round(each, 3) for each in WEIGHTS]},[None]]"
RECIPE = {
    "type": "merge-models-chattiori",
    "primary_model_hash": A,
    "secondary_model_hash": B,
    "tertiary_model_hash": None,
    "merge_method": "Weighted Sum",
    "block_weights": True,
    "alpha_info": LIST,
    "beta_info": None,
    "calculation": None,
    "fp": "fp16",
    "output_name": "x",
    "bake_in_vae": None,
    "pruned": True,
}


def imported(**changes):
    recipe = {**RECIPE, **changes}
    return import_metadata(
        {"sd_merge_recipe": json.dumps(recipe), "sd_merge_models": json.dumps(MODELS)}
    )


def test_a_list_has_the_weights_of_the_conventions_blocks(rows_of):
    result = imported()

    rows = rows_of(result)

    assert (result.convention, result.dtype_hint) == ("chattiori", "F16")
    assert rows["BASE/clip_g"] == {"A": Fraction(1, 2), "B": Fraction(1, 2)}
    assert rows["IN00/unet"]["B"] == Fraction(1, 100)
    assert rows["OUT08/out"]["B"] == Fraction(19, 100)
    assert rows["KEEP/vae"] == {"A": 1}
    assert rows["KEEP/time_embed"] == {"A": 1}
    assert "3 decimals only" in result.notes[0]


def test_26_numbers_are_cut_and_not_reduced(rows_of):
    numbers = [round(0.01 * at, 3) for at in range(1, 26)]
    result = imported(alpha_info=f"0.5,[{numbers},[None]]")

    assert rows_of(result)["M00/unet"]["B"] == Fraction(1, 10)
    assert "does not reduce them" in result.notes[1]


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("Weighted Sum", {"A": "0.8", "B": "0.2"}),
        ("Add Difference", {"A": "1", "B": "0.2", "C": "-0.2"}),
        ("Triple Sum", {"A": "0.3", "B": "0.2", "C": "0.5"}),
        ("Sum Twice", {"A": "0.4", "B": "0.1", "C": "0.5"}),
        ("No Interpolation", {"A": "1"}),
    ],
)
def test_the_linear_methods(method, expected, rows_of):
    rows = rows_of(
        imported(
            merge_method=method,
            tertiary_model_hash=C,
            block_weights=False,
            alpha_info="0.2",
            beta_info="0.5",
        )
    )

    wanted = {name: Fraction(text) for name, text in expected.items()}
    assert rows["IN05/unet"] == wanted
    assert rows["KEEP/vae"] == {"A": 1}


def test_a_baked_vae_is_an_ingredient(rows_of):
    result = imported(bake_in_vae="best_vae")

    assert rows_of(result)["KEEP/vae"] == {"baked_vae": 1}


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"merge_method": "Geometric Sum"}, "import-method", "got 'Geometric Sum'"),
        ({"merge_method": "DARE Merge"}, "import-method", "merge_method"),
        ({"calculation": "cosine_0"}, "import-calcmode", "got 'cosine_0'"),
        ({"calculation": "use_dif_10"}, "import-calcmode", "use_dif_10"),
        (
            {"alpha_info": "preset:[GRAD_V],0.5,[[0.1],[None]]"},
            "import-weights",
            "preset",
        ),
        ({"alpha_info": LIST.replace("None", "['a']")}, "import-weights", "elements"),
        ({"alpha_info": "0.5,[[0.1, 0.2],[None]]"}, "import-weights", "got 3 block"),
        ({"alpha_info": None}, "import-number", "alpha_info: got ''"),
        ({"alpha_info": "nan"}, "import-number", "alpha_info: got 'nan'"),
    ],
)
def test_what_is_not_supported_is_refused_by_place(changes, code, words):
    with pytest.raises(RecipeError) as caught:
        imported(**changes)

    assert caught.value.code == code
    assert words in str(caught.value)
    assert caught.value.hint
