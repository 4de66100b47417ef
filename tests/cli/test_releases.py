"""The catalog, and definitions of one's own."""

import json
import os
import shutil
import tomllib

import pytest

NAMES = ["gamma-rev1", "gamma-rev2"]
MODELS = ["base7", "base8"]


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_catalog_is_listed_with_variants_and_ingredients(krelease):
    code, out, err = krelease("releases")

    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == [*NAMES, *MODELS]
    assert "fp16, fp8" in out.splitlines()[1]
    assert "anxl2, anxl3, base8, beta7" in out.splitlines()[1]


def test_quiet_catalog_is_names(krelease):
    assert krelease("releases", "--quiet") == (
        0,
        "gamma-rev1\ngamma-rev2\nbase7\nbase8\n",
        "",
    )


def test_catalog_as_json_says_the_same(krelease):
    _, out, _ = krelease("releases", "--json")

    document = json.loads(out)
    assert [release["name"] for release in document["releases"]] == NAMES
    assert document["releases"][1]["repo"] == "KBlueLeaf/Kohaku-XL-gamma"


def test_one_release_is_shown_whole_as_its_definition(krelease):
    code, out, _ = krelease("releases", "gamma-rev2")

    assert code == 0
    assert tomllib.loads(out)["release"]["variants"] == ["fp16", "fp8"]


def test_one_release_as_json_is_the_same_definition(krelease):
    _, text, _ = krelease("releases", "gamma-rev2")
    _, out, _ = krelease("releases", "gamma-rev2", "--json")

    stated = json.loads(out)["definition"]
    assert stated["recipe"]["steps"] == tomllib.loads(text)["recipe"]["steps"]


def test_trained_models_are_listed_as_such(krelease):
    _, text, _ = krelease("releases")
    _, out, _ = krelease("releases", "--json")

    assert "trained    from beta7" in text.splitlines()[2]
    base7, base8 = json.loads(out)["models"]
    assert (base7["kind"], base7["hub"]) == ("trained", "KBlueLeaf/Kohaku-XL-gamma")
    assert (base8["resumed_from"], base8["file"]) == ("beta7", None)


def test_trained_model_is_shown_with_what_it_takes_from_another(krelease):
    code, out, err = krelease("releases", "base8")

    document = tomllib.loads(out)
    assert (code, err) == (0, "")
    assert out.startswith("# catalog base8, with what it takes from catalog base7\n")
    assert document["training"]["captions"] == "the maker's own metadata system"
    assert document["training"]["learning_rates"] == ["5e-6", "1e-6"]
    assert "place" not in document


@pytest.mark.parametrize(
    "command", [["build"], ["publish"], ["licence"], ["recipe", "explain"]]
)
def test_trained_model_cannot_be_built(krelease, command):
    code, out, err = krelease(*command, "base8")

    assert (code, out) == (3, "")
    assert "base8 is a trained model, no recipe leads to it" in err
    assert "hint: krelease releases base8 shows what is known of it" in err


def test_schema_is_printed_for_an_editor(krelease):
    code, out, err = krelease("releases", "--schema")
    _, wrapped, _ = krelease("releases", "--schema", "--json")

    assert (code, err) == (0, "")
    assert json.loads(out)["properties"]["release"]
    assert json.loads(wrapped)["json_schema"] == json.loads(out)


def test_schema_of_one_release_is_a_usage_error(krelease):
    code, _, err = krelease("releases", "gamma-rev2", "--schema")

    assert code == 2
    assert "expected one of the two" in err


def test_own_definition_that_extends_the_catalog_is_shown_whole(krelease, workplace):
    (workplace / "mine.toml").write_text(
        'extends = "gamma-rev2"\n[release]\nname = "mine"\n', encoding="utf-8"
    )

    code, out, _ = krelease("releases", "mine")
    _, as_json, _ = krelease("releases", "mine", "--json")

    release = tomllib.loads(out)["release"]
    assert code == 0
    assert (release["name"], release["tag"]) == ("mine", "rev2")
    assert json.loads(as_json)["extends"] == ["catalog gamma-rev2"]


def test_own_definition_in_this_folder_is_found_by_name(krelease, define):
    define("mine", replace={'title = "Kohaku-XL gamma rev2"': 'title = "Mine"'})

    code, out, _ = krelease("releases", "mine")

    assert code == 0
    assert tomllib.loads(out)["release"]["title"] == "Mine"


def test_near_match_counts_own_definitions(krelease, define):
    define("my-merge")

    code, _, err = krelease("releases", "my-merg")

    assert code == 3
    assert "did you mean my-merge?" in err


def test_hostile_text_of_a_definition_cannot_turn_the_line_around(krelease, define):
    define("mine", replace={'title = "Kohaku-XL gamma rev2"': 'title = "a\u202eb"'})

    _, out, err = krelease("releases", "mine")

    assert "\u202e" not in out + err


def test_own_definition_is_built_by_name(krelease, define, ingredients, workplace):
    define("mine", paths=ingredients)

    code, _, _ = krelease("build", "mine", "--quiet")

    assert code == 0
    manifest = json.loads((workplace / "mine" / "manifest.json").read_text())
    assert manifest["release"] == "mine"


def test_paths_of_a_definition_file_start_from_its_folder(
    krelease, define, ingredients, workplace
):
    folder = workplace / "elsewhere"
    (folder / "models").mkdir(parents=True)
    for path in ingredients.values():
        os.link(path, folder / "models" / path.name)
    relative = {name: f"models/{path.name}" for name, path in ingredients.items()}
    file = define("mine", paths=relative, folder=folder)

    code, out, _ = krelease("build", "--definition", file, "--dry-run", "--json")

    stated = {item["name"]: item for item in json.loads(out)["ingredients"]}
    assert code == 0
    assert stated["beta7"]["state"] == "at hand"
    assert stated["beta7"]["nbytes"] == ingredients["beta7"].stat().st_size
    assert stated["beta7"]["path"] == str(folder / "models" / "beta7.safetensors")


def test_given_file_wins_over_the_path_of_the_definition(
    krelease, define, ingredients, workplace
):
    define("mine", paths={**ingredients, "beta7": "gone.safetensors"})
    shutil.copy(ingredients["beta7"], workplace / "here.safetensors")

    code, out, _ = krelease(
        "build", "mine", "--dry-run", "--json", "-i", "beta7=here.safetensors"
    )

    assert code == 0
    assert json.loads(out)["ingredients"][3]["path"] == "here.safetensors"


def test_tilde_after_the_name_means_the_home_folder(
    krelease, given, ingredients, monkeypatch
):
    monkeypatch.setenv("HOME", str(ingredients["beta7"].parent))
    option = "--ingredient=beta7=~/beta7.safetensors"

    code, out, _ = krelease(
        "build", "gamma-rev2", *given[:3], option, "--dry-run", "-q"
    )

    assert code == 0
    assert "gamma-rev2/manifest.json" in out
