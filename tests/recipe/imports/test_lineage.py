import json
from itertools import pairwise

import pytest

from release.recipe.lineage import Lineage, lineage_of, tree_lines

A, B, C, D = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)


def merged(primary=A, secondary=B, **more):
    return {
        "type": "webui",
        "interp_method": "Weighted sum",
        "multiplier": 0.3,
        "primary_model_hash": primary,
        "secondary_model_hash": secondary,
        **more,
    }


def lines(recipe, models=None, **metadata):
    found = {"sd_merge_recipe": json.dumps(recipe), **metadata}
    if models is not None:
        found["sd_merge_models"] = json.dumps(models)
    return tree_lines(lineage_of(found, title="file"))


def test_parents_and_grandparents_are_a_tree():
    models = {
        A: {"name": "mix one", "sd_merge_recipe": merged(C, D)},
        B: {"name": "anxl3", "sd_merge_recipe": None},
        C: {"name": "beta7", "sd_merge_recipe": "null"},
    }

    assert lines(merged(), models) == [
        "file",
        "└─ sd_merge_recipe: webui, Weighted sum, 0.3",
        "   ├─ mix one [aaaaaaaaaa]: webui, Weighted sum, 0.3",
        "   │  ├─ beta7 [cccccccccc]",
        "   │  └─ unknown model [dddddddddd]",
        "   └─ anxl3 [bbbbbbbbbb]",
    ]


def test_a_nested_recipe_may_be_text():
    models = {A: {"name": "x", "sd_merge_recipe": json.dumps(merged(C, D))}}

    assert len(lines(merged(), models)) == 6


def test_a_cycle_ends():
    models = {
        A: {"name": "x", "sd_merge_recipe": merged(B, None)},
        B: {"name": "y", "sd_merge_recipe": merged(A, None)},
    }

    assert lines(merged(A, None), models)[2:] == [
        "   └─ x [aaaaaaaaaa]: webui, Weighted sum, 0.3",
        "      └─ y [bbbbbbbbbb]: webui, Weighted sum, 0.3",
        "         └─ x [aaaaaaaaaa]: is its own ancestor",
    ]


def test_a_model_met_twice_is_unfolded_once():
    models = {
        A: {"name": "x", "sd_merge_recipe": merged(C, D)},
        B: {"name": "y", "sd_merge_recipe": merged(A, D)},
    }

    assert any(
        "x [aaaaaaaaaa]: webui, Weighted sum, 0.3, see above" in line
        for line in lines(merged(), models)
    )


def test_generations_are_bounded():
    digests = [f"{at:064x}" for at in range(100)]
    models = {
        digest: {"name": f"g{at}", "sd_merge_recipe": merged(following, None)}
        for at, (digest, following) in enumerate(pairwise(digests))
    }

    found = lines(merged(digests[0], None), models)

    assert len(found) == 15
    assert found[-1].endswith("and more generations")


def test_models_are_bounded():
    recipe = {"type": "krelease", "models": {f"m{at:04}": None for at in range(2000)}}

    found = lines(recipe)

    assert len(found) == 503
    assert found[-1] == "   └─ …: more than 500 models"


def test_our_own_recipe_names_models_with_and_without_hashes():
    recipe = {"type": "krelease", "expression": "a + b", "models": {"a": A, "b": None}}

    assert lines(recipe)[1:] == [
        "└─ sd_merge_recipe: krelease, a + b",
        "   ├─ a [aaaaaaaaaa]",
        "   └─ b",
    ]


def test_every_source_is_shown():
    metadata = {
        "modelspec.title": "Gamma",
        "krelease.recipe": "{}",
        "krelease.ingredients": json.dumps({"beta7": "f" * 32}),
        "mecha_recipe": 'version 0.1.0\nmodel "/home/me/x.safetensors"\n'
        'model "x.safetensors"',
        "prompt": json.dumps(
            {
                "4": {"class_type": "C", "inputs": {"ckpt_name": "sub\\b.safetensors"}},
                "9": {"inputs": {"text": "cat", "lora_name": "l.safetensors"}},
                "10": {"inputs": {"ckpt_name": ["4", 0]}},
                "11": 5,
            }
        ),
        "modelspec.merged_from": "Beta 7, Animagine ,",
    }

    assert tree_lines(lineage_of(metadata, title="file")) == [
        "Gamma",
        "├─ krelease.recipe: tensor set digests",
        "│  └─ beta7 [ffffffffff]",
        "├─ mecha_recipe: sd-mecha",
        "│  └─ x.safetensors",
        "├─ prompt: ComfyUI workflow",
        "│  ├─ b.safetensors",
        "│  └─ l.safetensors",
        "└─ modelspec.merged_from",
        "   ├─ Beta 7",
        "   └─ Animagine",
    ]


def test_a_file_without_lineage_is_its_title_alone():
    assert tree_lines(lineage_of({"format": "pt"}, title="file")) == ["file"]


def test_control_characters_are_escaped():
    node = Lineage("a\x1b[31m\nb", "\u202e" + "a" * 63, "c\rd", (Lineage("e\u2028f"),))

    text = "\n".join(tree_lines(node))

    assert text.count("\n") == 1
    assert not set(text) & {"\x1b", "\r", "\u202e", "\u2028"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sd_merge_recipe", "{"),
        ("sd_merge_recipe", "5"),
        ("sd_merge_recipe", '{"a":' * 5000),
        ("krelease.recipe", "{}"),
        ("mecha_recipe", "version 7"),
        ("mecha_recipe", "version 0.1.0\n\n"),
        ("prompt", "[1]"),
        ("prompt", '{"a": "' + "x" * 2_000_000 + '"}'),
    ],
)
def test_what_cannot_be_read_is_a_remark(key, value):
    metadata = {key: value, "krelease.ingredients": "{"}

    (source,) = lineage_of(metadata, title="file").parents

    assert source.title == key
    assert source.remark.startswith("unreadable: ")


@pytest.mark.parametrize(
    "models",
    [
        {A: 5},
        {A: {"name": 5, "sd_merge_recipe": 5}},
        {A: {"sd_merge_recipe": "{"}},
        {A: {"sd_merge_recipe": {"models": [1], "type": {}, "mode": []}}},
    ],
)
def test_odd_entries_of_the_map_do_no_harm(models):
    assert lines(merged(A, None), models)[2].startswith(
        "   └─ unknown model [aaaaaaaaaa]"
    )
