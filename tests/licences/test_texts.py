"""The texts that go with a release: whose, under which names, and which are refused."""

from pathlib import Path

import pytest

from release.errors import CardError, InputError
from release.licences.known import licence_text
from release.licences.texts import (
    LICENCE_NBYTES_MAX,
    FoundText,
    own_texts,
    release_texts,
)

RAIL = b"CreativeML Open RAIL++-M License\n\nsome terms\n"
FAIPL = licence_text("faipl-1.0-sd")


def changed(definition, name, **changes):
    source = definition.ingredients[name].model_copy(update=changes)
    ingredients = {**definition.ingredients, name: source}
    return definition.model_copy(update={"ingredients": ingredients})


def licensed(definition, **changes):
    licence = definition.licence.model_copy(update=changes)
    return definition.model_copy(update={"licence": licence})


def on_hub(**texts):
    return {name: FoundText(text, f"maker/{name}") for name, text in texts.items()}


def refusal(definition, base=Path(), **texts):
    with pytest.raises(CardError) as caught:
        release_texts(definition, base, on_hub=on_hub(**texts))
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    return caught.value


def test_own_text_comes_first_and_an_equal_one_is_no_second_file(gamma_rev2):
    texts = release_texts(
        gamma_rev2,
        Path(),
        on_hub=on_hub(anxl3=FAIPL.replace(b"\n", b"\r\n"), anxl2=RAIL),
    )

    assert texts.files() == {"LICENSE": FAIPL, "LICENSE-animagine-xl-2.0.md": RAIL}
    assert texts.file_of("anxl3") is None
    assert texts.file_of("anxl2") == "LICENSE-animagine-xl-2.0.md"
    assert texts.file_of("base8") is None


def test_text_named_by_the_definition_goes_before_the_repositorys(gamma_rev2, tmp_path):
    (tmp_path / "rail.md").write_bytes(RAIL)
    definition = changed(gamma_rev2, "anxl2", licence_file="rail.md")

    texts = release_texts(definition, tmp_path, on_hub=on_hub(anxl2=b"another text"))

    assert texts.files()["LICENSE-animagine-xl-2.0.md"] == RAIL


def test_equal_texts_of_two_ingredients_are_one_file(gamma_rev2):
    texts = release_texts(
        gamma_rev2, Path(), on_hub=on_hub(beta7=RAIL, anxl2=RAIL + b"\n\n")
    )

    assert list(texts.files()) == ["LICENSE", "LICENSE-kohaku-xl-beta7.md"]
    assert texts.file_of("beta7") == texts.file_of("anxl2")


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Animagine XL 2.0", "LICENSE-animagine-xl-2.0.md"),
        ("../../etc/passwd", "LICENSE-etc-passwd.md"),
        ("\u202e\u6a21\u578b", "LICENSE-anxl2.md"),
        ("a" * 500, f"LICENSE-{'a' * 64}.md"),
        ("a\\b:c|d", "LICENSE-a-b-c-d.md"),
    ],
)
def test_name_of_a_text_is_safe_whatever_the_title(gamma_rev2, title, name):
    definition = changed(gamma_rev2, "anxl2", title=title)

    texts = release_texts(definition, Path(), on_hub=on_hub(anxl2=RAIL))

    assert list(texts.files()) == ["LICENSE", name]


def test_equal_titles_give_two_names(gamma_rev2):
    definition = changed(gamma_rev2, "anxl2", title="Kohaku-XL beta7")

    texts = release_texts(
        definition, Path(), on_hub=on_hub(beta7=b"one text", anxl2=b"two texts")
    )

    assert list(texts.files())[1:] == [
        "LICENSE-kohaku-xl-beta7.md",
        "LICENSE-kohaku-xl-beta7-2.md",
    ]


def test_missing_text_is_a_warning_with_the_key_only_where_one_is_owed(gamma_rev2):
    texts = release_texts(gamma_rev2, Path(), on_hub={})

    first, second = texts.warnings
    assert "beta7" in first
    assert "creativeml-openrail-m" in first
    assert 'ingredients.anxl2.licence_file = "PATH"' in second
    assert list(texts.files()) == ["LICENSE"]


def test_licence_that_asks_for_no_text_misses_none(gamma_rev2):
    definition = changed(gamma_rev2, "anxl2", licence="cc0-1.0")

    warnings = release_texts(definition, Path(), on_hub=on_hub(beta7=RAIL)).warnings

    assert warnings == ()


def test_text_of_another_licence_than_declared_is_refused_naming_both(gamma_rev2):
    error = refusal(gamma_rev2, anxl2=FAIPL)

    assert (error.code, error.exit_code) == ("licence-text", 7)
    assert "anxl2 (Animagine XL 2.0) declares openrail++" in str(error)
    assert "maker/anxl2 holds the text of faipl-1.0-sd" in str(error)


def test_text_that_is_nearly_the_declared_one_goes_along_with_a_warning(gamma_rev2):
    own_terms = FAIPL.replace(b"30 days", b"3 days")

    texts = release_texts(
        gamma_rev2, Path(), on_hub=on_hub(anxl3=own_terms, beta7=RAIL, anxl2=RAIL)
    )

    assert texts.file_of("anxl3") == "LICENSE-animagine-xl-3.0.md"
    assert len(texts.warnings) == 1
    assert "maker/anxl3 is not the known text of faipl-1.0-sd" in texts.warnings[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "is empty"),
        (b" \n\t\n", "is empty"),
        (b"\x80\x04\x95pickle", "is no UTF-8 text"),
        (b"text\0more", "is no UTF-8 text"),
        (b"text\x1b[2J", "is no UTF-8 text"),
        (b"x" * (LICENCE_NBYTES_MAX + 1), "is over 262,144 bytes"),
    ],
)
def test_what_is_no_text_of_a_licence_is_refused(gamma_rev2, text, words):
    error = refusal(gamma_rev2, anxl2=text)

    assert error.code == "licence-text"
    assert words in str(error)
    assert "ingredients.anxl2.licence_file" in error.hint


def test_largest_text_is_taken(gamma_rev2):
    largest = b"x" * LICENCE_NBYTES_MAX

    texts = release_texts(gamma_rev2, Path(), on_hub=on_hub(anxl2=largest))

    assert texts.files()["LICENSE-animagine-xl-2.0.md"] == largest


def test_text_that_is_not_there_is_named(gamma_rev2, tmp_path):
    definition = changed(gamma_rev2, "anxl2", licence_file="none.md")

    with pytest.raises(InputError) as caught:
        release_texts(definition, tmp_path, on_hub={})

    assert str(tmp_path / "none.md") in str(caught.value)


def test_ingredient_that_the_recipe_does_not_read_brings_no_text(gamma_rev2):
    steps = {"gamma": "beta7 + 0 * anxl2 + anxl3 - base8"}
    recipe = gamma_rev2.recipe.model_copy(update={"steps": steps, "output": "gamma"})
    definition = gamma_rev2.model_copy(update={"recipe": recipe})

    texts = release_texts(definition, Path(), on_hub=on_hub(anxl2=RAIL))

    assert list(texts.files()) == ["LICENSE"]
    assert not any("anxl2" in warning for warning in texts.warnings)


def test_release_under_another_licence_brings_its_text(gamma_rev2, tmp_path):
    (tmp_path / "rail.md").write_bytes(RAIL)
    definition = licensed(gamma_rev2, name="openrail++", file="rail.md")

    assert own_texts(definition, tmp_path).files() == {"LICENSE": RAIL}


def test_release_under_another_licence_without_a_text_is_told_the_key(gamma_rev2):
    with pytest.raises(CardError) as caught:
        own_texts(licensed(gamma_rev2, name="openrail++"), Path())

    assert caught.value.code == "licence-unknown"
    assert 'licence.file = "PATH"' in caught.value.hint


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("openrail++", FAIPL, "licence.name is openrail++, but "),
        ("openrail++", FAIPL, "holds the text of faipl-1.0-sd"),
        ("faipl-1.0-sd", RAIL, "does not hold the known text of faipl-1.0-sd"),
        ("openrail++", b"\xff\xfe", "is no UTF-8 text"),
    ],
)
def test_own_text_must_be_the_one_of_the_name(gamma_rev2, tmp_path, name, text, words):
    (tmp_path / "text.md").write_bytes(text)

    with pytest.raises(CardError) as caught:
        own_texts(licensed(gamma_rev2, name=name, file="text.md"), tmp_path)

    assert caught.value.code == "licence-text"
    assert words in str(caught.value)


def test_own_text_under_an_alias_of_its_name_is_taken_as_it_is(gamma_rev2, tmp_path):
    (tmp_path / "text.md").write_bytes(FAIPL + b"\r\n\r\n")
    definition = licensed(gamma_rev2, name="FAIPL", file="text.md")

    assert own_texts(definition, tmp_path).own == FAIPL + b"\r\n\r\n"
