"""`extends` and `without`: what is shared, what wins, and whose fault an error is."""

from pathlib import Path

import pytest

from release.catalog.find import find_definition
from release.catalog.read import parse_definition, read_definition
from release.catalog.recipes import find_recipe
from release.errors import RecipeError

OWN = """extends = "gamma-rev2"
[release]
name = "mine"
title = "Mine"
"""
"""The smallest definition there is."""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, name: str = "mine") -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        find_definition(name, folder)
    assert "\n" not in str(caught.value)
    return caught.value


def test_what_is_not_stated_is_that_of_the_extended_release(tmp_path):
    rev2, _ = find_definition("gamma-rev2", tmp_path)
    write(tmp_path, "mine", OWN)

    mine, text = find_definition("mine", tmp_path)

    names = {"name": "gamma-rev2", "title": rev2.release.title}
    assert text == OWN
    assert mine.release.title == "Mine"
    release = mine.release.model_copy(update=names)
    assert mine.model_copy(update={"release": release}) == rev2


def test_tables_are_merged_and_lists_replaced(tmp_path):
    write(
        tmp_path,
        "mine",
        f"""{OWN}variants = ["bf16"]
archives = []
[usage]
cfg_max = 6
""",
    )

    mine, _ = find_definition("mine", tmp_path)

    assert (mine.release.variants, mine.release.archives) == (("bf16",), ())
    assert (mine.usage.cfg_min, mine.usage.cfg_max) == (4, 6)


def test_key_that_does_not_hold_is_left_out(tmp_path):
    write(
        tmp_path,
        "mine",
        """extends = "gamma-rev2"
without = ["recipe.steps", "ingredients.base8", "usage.fp8_note"]
[release]
name = "mine"
[recipe]
output = "half"
[recipe.steps]
half = "beta7 + 0.5 * (anxl3 - anxl2)"
""",
    )

    mine, _ = find_definition("mine", tmp_path)

    assert list(mine.recipe.steps) == ["half"]
    assert sorted(mine.ingredients) == ["anxl2", "anxl3", "beta7"]
    assert mine.usage.fp8_note is None


def test_file_beside_wins_over_the_catalog(tmp_path):
    write(
        tmp_path,
        "gamma-rev2",
        'extends = "gamma-rev2"\n[release]\nauthor = "somebody"\n',
    )
    write(tmp_path, "mine", OWN)

    mine, _ = find_definition("mine", tmp_path)

    assert mine.release.author == "somebody"
    assert mine.release.tag == "rev2"


def test_shared_parts_need_not_be_a_whole_definition(tmp_path):
    write(tmp_path, "shared", 'extends = "gamma-rev1"\n[usage]\nsampler = "Euler a"\n')
    path = write(tmp_path, "mine", OWN.replace("gamma-rev2", "shared"))

    assert read_definition(path).usage.sampler == "Euler a"


def test_text_without_a_folder_extends_the_catalog_alone(tmp_path):
    write(tmp_path, "shared", 'extends = "gamma-rev1"\n')

    with pytest.raises(RecipeError, match="got 'shared', expected a definition"):
        parse_definition(OWN.replace("gamma-rev2", "shared"), origin="text")


def test_recipe_of_an_extending_file_is_found(tmp_path):
    path = write(tmp_path, "mine", OWN)

    assert "rev2" in find_recipe(str(path), tmp_path).recipe.steps


@pytest.mark.parametrize(
    ("shared", "mine", "file", "words"),
    [
        ("[usage]\ncfg_max = 3\n", "", "mine", "usage.cfg_min: 5 is above cfg_max, 3"),
        ("[usage]\nsamplr = 3\n", "", "shared", "usage.samplr: unknown key; did you"),
        ("[usage]\nsampler = 3\n", "", "shared", "usage.sampler: got 3, expected"),
        (
            "[[known_issues]]\nissue = 'x'\n",
            "",
            "shared",
            "known_issues[0].workaround: is missing",
        ),
        ("[recipe.steps]\nx = 'y'\n", "", "shared", "recipe.steps.x: "),
        ("[card]\ntags = ['a', 'a']\n", "", "shared", "card.tags[1]: tag 'a' is there"),
    ],
)
def test_error_names_the_file_in_which_the_key_stands(
    tmp_path, shared, mine, file, words
):
    write(tmp_path, "shared", f'extends = "gamma-rev2"\n{shared}')
    own = OWN.replace("gamma-rev2", "shared")
    write(tmp_path, "mine", f"{own}[usage]\ncfg_min = 5\n{mine}")

    message = str(refusal(tmp_path))

    assert message.startswith(f"{tmp_path / file}.toml: {words}")


def test_missing_key_is_the_fault_of_the_file_that_is_read(tmp_path):
    write(tmp_path, "shared", "schema = 1\n[release]\ntitle = 'x'\n")
    write(tmp_path, "mine", "extends = 'shared'\n[release]\nname = 'mine'\n")

    assert str(refusal(tmp_path)).startswith(f"{tmp_path / 'mine'}.toml: ")


def test_file_that_is_extended_and_is_no_toml_is_named(tmp_path):
    write(tmp_path, "shared", "schema = ")
    write(tmp_path, "mine", OWN.replace("gamma-rev2", "shared"))

    error = refusal(tmp_path)

    assert error.code == "definition-file"
    assert str(error).startswith(f"{tmp_path / 'shared'}.toml: is not TOML")


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ('extends = "gama-rev2"', "extends: got 'gama-rev2', expected a definition"),
        ('extends = "../gamma-rev2"', "extends: got '../gamma-rev2', expected a def"),
        ('extends = "mine.toml"', "extends: got 'mine.toml', expected a definition"),
        ("extends = 3", "extends: got 3, expected a definition"),
        ('extends = ["gamma-rev1"]', "extends: got a list of 1, expected a definition"),
        ('extends = "a\\u202eb"', r"extends: got 'a\u202eb', expected a definition"),
        ('without = ["card"]', "without: there is nothing that the file extends"),
        ('extends = "gamma-rev2"\nwithout = "card"', "without: got 'card', expected a"),
        ('extends = "gamma-rev2"\nwithout = [3]', "without: got a list of 1, expected"),
        (
            'extends = "gamma-rev2"\nwithout = ["ingredients.base7"]',
            "without[0]: got 'ingredients.base7', which what it extends does not state",
        ),
        (
            'extends = "gamma-rev2"\nwithout = ["card", "usage.sampler.x"]',
            "without[1]: got 'usage.sampler.x', which",
        ),
    ],
)
def test_what_cannot_be_extended_is_refused(tmp_path, head, words):
    path = write(tmp_path, "mine", f'{head}\n[release]\nname = "mine"\n')

    error = refusal(tmp_path)

    assert str(error).startswith(f"{path}: {words}")
    assert (error.code, error.exit_code) == ("definition-extends", 3)


def test_near_match_of_a_key_that_is_left_out_is_suggested(tmp_path):
    write(tmp_path, "mine", 'extends = "gamma-rev2"\nwithout = ["ingredient.base8"]\n')

    assert refusal(tmp_path).hint == "did you mean ingredients.base8?"


def test_circle_is_refused_with_its_files(tmp_path):
    write(tmp_path, "mine", 'extends = "other"\n')
    write(tmp_path, "other", 'extends = "mine"\n')

    error = refusal(tmp_path)

    mine, other = tmp_path / "mine.toml", tmp_path / "other.toml"
    assert f"a circle: {mine} extends {other} extends {mine}" in str(error)
    assert error.code == "definition-extends"


def test_chain_of_eight_is_read_and_one_of_nine_refused(tmp_path):
    write(tmp_path, "s1", 'extends = "gamma-rev2"\n')
    for at in range(2, 7):
        write(tmp_path, f"s{at}", f'extends = "s{at - 1}"\n')
    write(tmp_path, "mine", OWN.replace("gamma-rev2", "s6"))
    write(tmp_path, "over", 'extends = "mine"\n')

    assert find_definition("mine", tmp_path)[0].release.tag == "rev2"
    assert "a chain of more than 8 files" in str(refusal(tmp_path, "over"))
