"""`krelease recipe explain` and `krelease recipe check`."""

import json
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes

RECIPE = """
[recipe]
schema = 1
[ingredients]
beta7 = { file = "beta7.safetensors" }
anxl3 = {}
[steps]
half = "0.5*beta7 + 0.5*anxl3"
[output]
from = "half"
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ingredients) -> Path:
    """A folder with a recipe file and one of its ingredients, and the user in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "half.toml").write_text(RECIPE)
    shutil.copy(ingredients["beta7"], tmp_path)
    return tmp_path


def test_explain_shows_rows_weights_and_rules(krelease, here):
    code, out, err = krelease("recipe", "explain", "gamma-rev2")

    assert (code, err) == (0, "")
    lines = out.splitlines()
    (head,) = [line for line in lines if line.startswith("blocks ")]
    assert head.split() == ["blocks", "anxl2", "anxl3", "base8", "beta7", "sum"]
    (row,) = [line for line in lines if line.startswith("OUT03-OUT08")]
    assert row.split()[1:] == ["-0.95", "1", "0.2375", "0.7125", "1"]
    assert "OUT03=0.05" in out
    assert "  convention  supermerger" in lines
    assert any(line.startswith("  accumulate  float64") for line in lines)


def test_explain_takes_an_expression(krelease, here):
    code, out, err = krelease(
        "recipe", "explain", "-e", "a + 0.5*lora(s) + b", "--convention", "sd-mecha"
    )

    assert code == 0
    assert err == (
        "warning: coefficients sum to 2, not 1, in every block: is a subtrahend"
        " missing?\n"
    )
    assert "lora(s)" in out
    assert "  convention  sd-mecha" in out.splitlines()


def test_explain_as_json_is_one_exact_object(krelease, here):
    _, out, _ = krelease("recipe", "explain", "gamma-rev2", "--json")

    document = json.loads(out)
    assert document["schema"] == "krelease.recipe-explain/1"
    assert document["rows"]["IN00"]["base8"] == "0.225"
    digest = hashes.Hash(hashes.SHA256())
    digest.update(document["canonical"].encode())
    assert document["sha256"] == digest.finalize().hex()
    assert json.loads(document["canonical"])["rows"] == document["rows"]


def test_explain_in_short_is_the_identity(krelease, here):
    _, out, _ = krelease("recipe", "explain", "gamma-rev2", "--quiet")

    assert len(out.strip()) == 64


def test_syntax_error_is_shown_with_a_caret(krelease, here):
    code, out, err = krelease("recipe", "explain", "-e", "beta7 + * anxl3")

    assert (code, out) == (3, "")
    assert err.splitlines()[:3] == [
        "error: expression: column 9: got '*', expected a number, a name or '('",
        "  beta7 + * anxl3",
        "          ^",
    ]


def test_syntax_error_as_json_has_its_column(krelease, here):
    code, out, _ = krelease("recipe", "explain", "-e", "a ++ b", "--json")

    assert code == 3
    assert json.loads(out)["column"] == 4


def test_error_without_a_place_has_no_column(krelease, here):
    _, out, _ = krelease("recipe", "explain", "-e", "a", "--convention", "x", "--json")

    assert "column" not in json.loads(out)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name a recipe, or give one"),
        (["gamma-rev2", "-e", "a"], "one of the two"),
        (["gamma-rev2", "--convention", "sdnext"], "with --expression only"),
    ],
)
def test_explain_wants_one_recipe(krelease, here, arguments, words):
    code, _, err = krelease("recipe", "explain", *arguments)

    assert code == 2
    assert words in err


def test_check_reads_the_headers_that_are_at_hand(krelease, here):
    code, out, err = krelease("recipe", "check", "half.toml")

    assert (code, err) == (0, "")
    assert "  anxl3  not at hand" in out.splitlines()
    assert "  beta7  header checked" in out.splitlines()


def test_check_takes_ingredients_and_names_of_releases(krelease, here, ingredients):
    arguments = [f"--ingredient={name}={path}" for name, path in ingredients.items()]

    code, out, _ = krelease("recipe", "check", "gamma-rev2", *arguments, "--json")

    assert code == 0
    states = json.loads(out)["ingredients"]
    assert states == dict.fromkeys(
        ("anxl2", "anxl3", "base8", "beta7"), "header checked"
    )


def test_check_refuses_ingredients_of_different_shapes(krelease, here, tmp_path):
    from release.engine.standin import make_stand_ins

    wider = tmp_path / "wider.safetensors"
    make_stand_ins({"wider": wider}, divisor=16)

    code, _, err = krelease("recipe", "check", "half.toml", "-i", f"anxl3={wider}")

    assert code == 4
    assert "wider.safetensors: " in err
    assert "has shape" in err


def test_check_names_the_file_and_place_of_an_error(krelease, here):
    (here / "half.toml").write_text(RECIPE.replace("0.5*beta7", "beta7 / 2"))

    code, _, err = krelease("recipe", "check", "half.toml")

    assert code == 3
    assert err.startswith("error: half.toml: steps.half: column 7: got '/'")
    assert err.splitlines()[2] == "        ^"


def test_check_refuses_an_ingredient_that_the_recipe_lacks(krelease, here):
    code, _, err = krelease("recipe", "check", "half.toml", "-i", "base8=x")

    assert code == 2
    assert "the recipe has no such ingredient" in err
