import json
from fractions import Fraction

import pytest

from release.errors import RecipeError
from release.recipe.imports.block_lists import extended_names
from release.recipe.imports.read import import_metadata

A, B, C = "a" * 64, "b" * 64, "c" * 64
MODELS = {A: {"name": "A"}, B: {"name": "B"}, C: {"name": "C"}}
GAMMA = "0,0.1,0.1,0,0.1,0.1,0,0.1,0.1,0,0,0,0,0,0.05,0.05,0.05,0.05,0.05,0.05"
BLOCKS = (
    ["BASE"]
    + [f"IN{at:02}" for at in range(9)]
    + ["M00"]
    + [f"OUT{at:02}" for at in range(9)]
)
CELLS = ["BASE/clip_l", *(f"{block}/unet" for block in BLOCKS[1:])]
RECIPE = {
    "type": "sd-webui-supermerger",
    "mode": "Weight sum",
    "calcmode": "normal",
    "mbw": True,
    "base_alpha": 0.0,
    "base_beta": 0.25,
    "weights_alpha": [float(each) for each in GAMMA.split(",")[1:]] + [0],
    "weights_alpha_orig": GAMMA,
    "weights_beta": "0.2,0.2",
    "weights_beta_orig": "0.2,0.2",
    "model_a": A,
    "model_b": B,
    "model_c": A,
    "elemental_merge": [],
    "Off": [""],
}


def imported(**changes):
    recipe = {**RECIPE, **changes}
    return import_metadata(
        {"sd_merge_recipe": json.dumps(recipe), "sd_merge_models": json.dumps(MODELS)}
    )


def refused(**changes) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        imported(**changes)
    return caught.value


def as_typed(text, **changes):
    """A list as typed, with what SuperMerger records of it, not reduced."""
    numbers = text.split(",")
    fields = {"weights_alpha_orig": text, "base_alpha": float(numbers[0])}
    return {"weights_alpha": None, **fields, **changes}


def test_a_weighted_sum_has_each_blocks_weight(rows_of):
    rows = rows_of(imported())

    weights = [rows[cell].get("B", 0) for cell in CELLS]
    assert weights == [Fraction(each) for each in GAMMA.split(",")]
    assert rows["IN00/time_embed"] == {"A": Fraction(9, 10), "B": Fraction(1, 10)}
    assert rows["KEEP/clip_g"] == {"A": 1}
    assert rows["BASE/vae"] == {"A": 1}


def test_c_is_no_ingredient_of_a_weighted_sum():
    assert [each.name for each in imported(model_c=C).ingredients] == ["A", "B"]


def test_the_older_form_of_the_mode_is_known():
    assert imported(mode="Weight sum:A*(1-alpha)+B*alpha") == imported()


def test_without_block_weights_nameless_tensors_are_still_kept(rows_of):
    rows = rows_of(imported(mbw=False, base_alpha=0.3, weights_alpha=""))

    assert rows["KEEP/clip_l"] == {"A": 1}
    assert rows["BASE/vae"] == {"A": Fraction(7, 10), "B": Fraction(3, 10)}
    assert rows["OUT08/out"] == {"A": Fraction(7, 10), "B": Fraction(3, 10)}


def test_add_difference(rows_of):
    rows = rows_of(imported(mode="Add difference", model_c=C))

    assert rows["IN01/unet"] == {"A": 1, "B": Fraction(1, 10), "C": Fraction(-1, 10)}
    assert rows["IN02/unet"] == {"A": 1}


def test_triple_sum_without_block_weights(rows_of):
    rows = rows_of(
        imported(mode="Triple sum", mbw=False, base_alpha=0.2, base_beta=0.5, model_c=C)
    )

    assert rows["M00/unet"] == {
        "A": Fraction(3, 10),
        "B": Fraction(1, 5),
        "C": Fraction(1, 2),
    }
    assert rows["KEEP/clip_g"] == {"A": 1}


def test_sum_twice_with_two_lists(rows_of):
    beta = ",".join(["0.5"] * 20)

    rows = rows_of(
        imported(
            mode="sum Twice",
            model_c=C,
            base_beta=0.5,
            weights_beta=None,
            weights_beta_orig=beta,
        )
    )

    assert rows["IN00/unet"] == {
        "A": Fraction(9, 20),
        "B": Fraction(1, 20),
        "C": Fraction(1, 2),
    }
    assert rows["KEEP/clip_g"] == {"A": 1}


def test_without_the_list_as_typed_the_recorded_numbers_count(rows_of):
    rows = rows_of(imported(weights_alpha_orig=None, base_alpha=0.7))

    assert rows["BASE/clip_g"]["B"] == Fraction(7, 10)
    assert rows["OUT08/unet"]["B"] == Fraction(1, 20)


def test_26_numbers_are_reduced_and_it_is_said(rows_of):
    numbers = [f"0.{at:02}" for at in range(1, 27)]
    result = imported(**as_typed(",".join(numbers)))

    kept = [*numbers[:10], *numbers[13:23]]
    rows = rows_of(result)
    assert [rows[cell]["B"] for cell in CELLS] == [Fraction(each) for each in kept]
    assert "IN09..IN11 and OUT09..OUT11 were left out" in result.notes[0]


def test_26_numbers_agree_with_the_reduced_record():
    numbers = [f"0.{at:02}" for at in range(1, 27)]
    recorded = [float(each) for each in [*numbers[1:10], *numbers[13:23]]] + [0]

    assert imported(**as_typed(",".join(numbers), weights_alpha=recorded))


def extended(**changes) -> list[str]:
    """110 numbers, one for each block, with some names changed."""
    homes = {"OUT9": "OUT08", "TIME": "IN00", "LABEL": "IN00", "CLIPG": "BASE"}
    weights = dict(zip(BLOCKS, GAMMA.split(","), strict=True))
    return [
        changes.get(name, weights.get(homes.get(name, block), "0.99"))
        for name, block in extended_names()
    ]


def test_there_are_110_names_of_an_extended_list():
    names = [name for name, _ in extended_names()]

    assert len(set(names)) == 110
    assert " ".join(names[:8]) == "CLIPL CLIPG IN0 IN00 IN10 IN20 IN30 IN40"
    assert {"IN717", "OUT22", "MID109", "OUT52"} <= set(names)
    assert names[-4:] == ["OUT9", "TIME", "LABEL", "VAE"]


def test_110_numbers_that_are_whole_blocks_mean_the_same(rows_of):
    rows = rows_of(imported(**as_typed(",".join(extended()))))

    assert rows == rows_of(imported())


def test_110_numbers_with_other_weights_for_parts(rows_of):
    numbers = extended(CLIPG="0.4", TIME="0.6", OUT9="0.7", VAE="1")
    recorded = [float(each) for each in numbers[1:]]

    rows = rows_of(imported(**as_typed(",".join(numbers), weights_alpha=recorded)))

    assert rows["BASE/clip_g"] == {"A": Fraction(3, 5), "B": Fraction(2, 5)}
    assert rows["KEEP/clip_g"] == {"A": 1}
    assert rows["BASE/vae"] == {"A": 1}
    assert rows["IN00/time_embed"]["B"] == Fraction(3, 5)
    assert rows["IN00/label_emb"]["B"] == Fraction(1, 10)
    assert rows["OUT08/out"]["B"] == Fraction(7, 10)
    assert rows["OUT08/unet"]["B"] == Fraction(1, 20)


def test_110_numbers_with_a_smaller_weight_for_the_second_encoder(rows_of):
    numbers = extended(CLIPL="0.5", CLIPG="0.2")

    rows = rows_of(
        imported(mode="Add difference", model_c=C, **as_typed(",".join(numbers)))
    )

    assert rows["BASE/clip_g"] == {"A": 1, "B": Fraction(1, 5), "C": Fraction(-1, 5)}
    assert rows["BASE/clip_l"]["B"] == Fraction(1, 2)
    assert rows["KEEP/clip_g"] == {"A": 1}


def test_a_rule_for_whole_blocks_changes_their_weight(rows_of):
    rows = rows_of(imported(elemental_merge=["IN04 IN05::0.9", "IN05::0.8"]))

    assert rows["IN04/unet"]["B"] == Fraction(9, 10)
    assert rows["IN05/unet"]["B"] == Fraction(4, 5)
    assert rows["IN06/unet"]["B"] == Fraction(1, 10)


def test_excluded_blocks_with_weight_0_are_as_they_say():
    assert imported(Exclude=["IN02", "M00"]).steps == imported().steps


def test_included_blocks_with_weight_0_elsewhere_are_as_they_say():
    blocks = [b for b, w in zip(BLOCKS, GAMMA.split(","), strict=True) if w != "0"]

    assert imported(Include=blocks).steps == imported().steps


def test_hashes_are_found_whatever_their_case():
    models = {A.upper(): {"name": "first"}, B: {"name": "second"}}

    found = import_metadata(
        {
            "sd_merge_recipe": json.dumps({**RECIPE, "model_b": B.upper()}),
            "sd_merge_models": json.dumps(models),
        }
    )

    assert [each.title for each in found.ingredients] == ["first", "second"]
    assert found.ingredients[1].sha256 == B


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"calcmode": "cosineA"}, "import-calcmode", "calcmode: got 'cosineA'"),
        ({"calcmode": "trainDifference"}, "import-calcmode", "trainDifference"),
        ({"calcmode": "tensor"}, "import-calcmode", "expected normal"),
        ({"mode": "Multiply"}, "import-method", "mode: got 'Multiply'"),
        ({"mode": ""}, "import-method", "mode: got ''"),
        (as_typed(",".join(["0"] * 61)), "import-weights", "the list of a Flux merge"),
        (as_typed(",".join(["0"] * 19)), "import-weights", "got 19 block weights"),
        (as_typed(",".join(["0"] * 21)), "import-weights", "expected 20, 26 or 110"),
        (as_typed(",".join(["0"] * 111)), "import-weights", "got 111 block weights"),
        (
            as_typed(GAMMA.replace("0.05", "x", 1)),
            "import-number",
            "number 15: got 'x'",
        ),
        (as_typed(GAMMA + ","), "import-number", "number 21: got ''"),
        (
            as_typed(",".join(extended()), mode="Triple sum", model_c=C),
            "import-weights",
            "beta overwrite alpha",
        ),
        (
            as_typed(",".join(extended(IN717="0.3"))),
            "import-weights",
            "IN70 and IN717 have different weights in the block IN07",
        ),
        (
            {"weights_alpha": [0.1] * 19 + [0]},
            "import-weights",
            "weights_alpha: differs from weights_alpha_orig",
        ),
        ({"weights_alpha": [0.1] * 25}, "import-weights", "an SD1 merge"),
        (
            {"weights_alpha": [0.1] * 25, "weights_alpha_orig": None},
            "import-weights",
            "an SD1 merge",
        ),
        ({"base_alpha": 0.5}, "import-weights", "base_alpha: differs"),
        ({"weights_alpha": "0,1"}, "import-field", "expected a list of numbers"),
        ({"mbw": "yes"}, "import-field", "mbw: got 'yes'"),
        (
            {"elemental_merge": ["IN04:attn:0.5"]},
            "import-elemental",
            "chooses tensors by 'attn'",
        ),
        (
            {"elemental_merge": ["OUT03::0.5"]},
            "import-elemental",
            "two readings on SDXL: OUT03 as written, or OUT06",
        ),
        (
            {"elemental_merge": ["IN09::0.5"]},
            "import-elemental",
            "IN09 as written, or M00",
        ),
        ({"elemental_merge": ["M00::0.5"]}, "import-elemental", "or OUT02"),
        ({"elemental_merge": ["NOT IN04::0.5"]}, "import-elemental", "NOT IN04"),
        ({"elemental_merge": ["::0.5"]}, "import-elemental", "the rule '::0.5'"),
        ({"elemental_merge": ["IN04::x"]}, "import-number", "ratio of 'IN04::x'"),
        ({"elemental_merge": 5}, "import-field", "elemental_merge"),
        (
            as_typed(",".join(extended(TIME="1")), elemental_merge=["IN01::0.5"]),
            "import-elemental",
            "beside an extended list",
        ),
        ({"Exclude": ["IN00"]}, "import-exclusion", "leaves out blocks with a weight"),
        ({"Include": ["IN00"]}, "import-exclusion", "leaves out blocks with a weight"),
        ({"Exclude": ["attn"]}, "import-exclusion", "elements of tensor names"),
        ({"model_b": "fake"}, "import-hash", "model_b: got 'fake'"),
    ],
)
def test_what_is_not_supported_is_refused_by_place(changes, code, words):
    error = refused(**changes)

    assert error.code == code
    assert words in str(error)
    assert error.hint
