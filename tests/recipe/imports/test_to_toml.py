import tomllib

from release.recipe.imports.imported import Imported, ImportedIngredient
from release.recipe.imports.to_toml import to_toml

WILD = 'a\\n\\ """ \x00\x1b\x7f\u2028\U000e0001 é\t\r\n[x]'


def imported(**changes) -> Imported:
    return Imported(
        "test", (ImportedIngredient("a", **changes),), (("merged", "a"),), "sd-mecha"
    )


def test_any_text_reads_back_as_it_was():
    text = to_toml(imported(title=WILD, file="f", hub="o/r@main"))

    ingredient = tomllib.loads(text)["ingredients"]["a"]

    assert ingredient == {"title": WILD, "file": "f", "hub": "o/r@main"}
    assert not set(text) & {"\x00", "\x1b", "\x7f", "\u2028", "\r"}


def test_notes_stay_in_their_line():
    recipe = Imported(
        "x\n[y]", imported().ingredients, (("merged", "a"),), "c", notes=("n\r\nm = 1",)
    )

    document = tomllib.loads(to_toml(recipe))

    assert set(document) == {"recipe", "ingredients", "steps", "output"}
    assert "m" not in document


def test_an_ingredient_of_which_nothing_is_known_is_an_empty_table():
    text = to_toml(imported(autov1="0123abcd"))

    assert tomllib.loads(text)["ingredients"] == {"a": {}}
    assert "# a: no SHA-256 is known; its AutoV1 is 0123abcd." in text


def test_a_title_that_is_the_file_name_is_written_once():
    text = to_toml(imported(title="a.ckpt", file="a.ckpt", autov2="0123456789"))

    assert 'a = { file = "a.ckpt", autov2 = "0123456789" }' in text
