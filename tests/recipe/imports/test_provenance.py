import json

import pytest

from release.recipe.imports.provenance import Parent, webui_metadata
from release.recipe.lineage import lineage_of, tree_lines

A, B, C = "a" * 64, "b" * 64, "c" * 64
OLD = {"type": "webui", "primary_model_hash": C, "multiplier": 0.1}
WITH_RECIPE = {
    "sd_merge_recipe": json.dumps(OLD),
    "sd_merge_models": json.dumps(
        {
            C.upper(): {
                "name": "D:\\x\\old",
                "legacy_hash": "1234",
                "sd_merge_recipe": "null",
            }
        }
    ),
}
PARENTS = [Parent("beta7", "Beta 7", A, WITH_RECIPE), Parent("anxl3", "Animagine", B)]


def read(metadata):
    return (
        json.loads(metadata["sd_merge_recipe"]),
        json.loads(metadata["sd_merge_models"]),
    )


def test_recipe_and_models_are_in_the_form_that_webuis_read():
    recipe, models = read(webui_metadata("beta7 + 0.5 * anxl3", PARENTS))

    assert recipe == {
        "type": "krelease",
        "expression": "beta7 + 0.5 * anxl3",
        "models": {"anxl3": B, "beta7": A},
    }
    assert models == {
        A: {"name": "Beta 7", "legacy_hash": None, "sd_merge_recipe": OLD},
        B: {"name": "Animagine", "legacy_hash": None, "sd_merge_recipe": None},
        C: {"name": "old", "legacy_hash": None, "sd_merge_recipe": None},
    }


def test_the_order_of_parents_makes_no_difference():
    assert webui_metadata("x", PARENTS) == webui_metadata("x", PARENTS[::-1])


def test_a_parent_without_a_hash_is_in_the_recipe_only():
    recipe, models = read(webui_metadata("a", [Parent("a", "A", None, WITH_RECIPE)]))

    assert recipe["models"] == {"a": None}
    assert set(models) == {C}


def test_lineage_reads_what_is_written():
    lines = tree_lines(lineage_of(webui_metadata("b + a", PARENTS), title="f"))

    assert lines == [
        "f",
        "└─ sd_merge_recipe: krelease, b + a",
        "   ├─ Animagine [bbbbbbbbbb]",
        "   └─ Beta 7 [aaaaaaaaaa]: webui, 0.1",
        "      └─ old [cccccccccc]",
    ]


def test_distant_ancestors_are_cut_and_counted():
    many = {f"{at:064x}": {"name": "n" * 150} for at in range(1000)}
    parent = Parent("a", "A", A, {"sd_merge_models": json.dumps(many)})

    metadata = webui_metadata("a", [parent])

    recipe, models = read(metadata)
    assert len(metadata["sd_merge_models"]) <= 64 * 1024
    assert A in models
    assert len(models) + recipe["ancestors_left_out"] == 1001
    assert len(models) > 200


def test_where_parents_alone_are_too_many_their_recipes_go():
    old = json.dumps({"type": "x", "text": "y" * 3000})
    parents = [
        Parent(f"p{at}", "P", f"{at:064x}", {"sd_merge_recipe": old})
        for at in range(40)
    ]

    _, models = read(webui_metadata("a", parents))

    assert len(models) == 40
    assert all(entry["sd_merge_recipe"] is None for entry in models.values())


@pytest.mark.parametrize(
    "metadata",
    [
        {"sd_merge_recipe": "{", "sd_merge_models": "["},
        {"sd_merge_recipe": '{"a": NaN}', "sd_merge_models": '{"x": 1}'},
        {"sd_merge_recipe": '{"a":' * 9000, "sd_merge_models": json.dumps({C: 5})},
        {"sd_merge_recipe": " " * 2_000_000},
        {"sd_merge_models": json.dumps({"../x": {"name": "n"}, "z" * 64: {}})},
    ],
)
def test_what_a_parent_carries_is_repeated_only_if_it_can_be_read(metadata):
    _, models = read(webui_metadata("a", [Parent("a", "A", A, metadata)]))

    assert models == {A: {"name": "A", "legacy_hash": None, "sd_merge_recipe": None}}


def test_a_parent_is_described_by_itself_not_by_another_parents_map():
    claim = json.dumps({B: {"name": "forged"}})
    parents = [Parent("a", "A", A, {"sd_merge_models": claim}), Parent("b", "B", B)]

    _, models = read(webui_metadata("a", parents))

    assert models[B]["name"] == "B"


def test_titles_are_escaped():
    _, models = read(webui_metadata("a", [Parent("a", "A\x1b[31m\u202e", A)]))

    assert models[A]["name"] == "A\\u001b[31m\\u202e"
