"""Trained models: what the catalog knows of them, and what their files may say."""

from pathlib import Path

import pytest

from release.catalog.find import catalog_model, find_any, find_definition
from release.catalog.texts import catalog_names, model_names
from release.catalog.trained import TrainedModel
from release.errors import RecipeError

RELEASE_OF = {"base7": "gamma-rev1", "base8": "gamma-rev2"}

SMALLEST = """schema = 1
kind = "trained"
[model]
name = "own"
title = "Own"
summary = "Trained here."
author = "me"
architecture = "sdxl"
[training]
"""


def test_catalog_holds_the_page():
    assert catalog_names() == ("gamma-rev1", "gamma-rev2")
    assert model_names() == ("base7", "base8")


def test_base8_is_base7_but_for_what_the_page_says():
    base7, base8 = map(catalog_model, model_names())

    assert base8.training.batch == base7.training.batch
    assert base7.training.learning_rates == ("8e-6", "2e-6")
    assert base8.training.learning_rates == ("5e-6", "1e-6")
    assert (base7.training.images, base7.training.epochs) == (None, None)
    assert (base8.training.images, base8.training.epochs) == (1_480_000, 1)
    assert base8.place is None


@pytest.mark.parametrize("name", RELEASE_OF)
def test_trained_model_and_the_ingredient_of_its_release_say_the_same(name, tmp_path):
    trained = catalog_model(name)
    source = find_definition(RELEASE_OF[name], tmp_path)[0].ingredients[name]
    training = trained.training

    told = " ".join(source.facts).lower()
    said = [training.data, training.captions, training.schedule, training.batch]
    assert source.title == trained.model.title
    assert (source.hub, source.file) == (
        trained.place and trained.place.hub,
        trained.place and trained.place.file,
    )
    assert " and ".join(training.learning_rates) in told
    assert f"resumed from {trained.model.resumed_from}" in told
    facts = [str(text).lower().removeprefix("128: ") for text in said]
    assert [fact for fact in facts if fact not in told] == []


def test_own_trained_model_is_found_by_its_file(tmp_path: Path):
    (tmp_path / "own.toml").write_text(SMALLEST, encoding="utf-8")

    found = find_any("own", tmp_path).value

    assert isinstance(found, TrainedModel)
    assert found.model.title == "Own"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"trained"', '"traind"', "kind: got 'traind', expected 'release'"),
        ('"trained"', "[1]", "kind: got a list of 1, expected 'release' or 'trained'"),
        ("[training]", "[trainings]", "training: is missing"),
        ("[training]", "[training]\nrate = 1", "training.rate: unknown key"),
        ("[training]", "[training]\nepochs = 0", "training.epochs: got 0, expected"),
        ('"own"', '"other"', "model.name: got 'other', expected 'own' as in the file"),
        ("[training]", "[training]\n[recipe]", "recipe: unknown key"),
    ],
)
def test_wrong_value_of_a_trained_model_is_refused(tmp_path, old, new, words):
    path = tmp_path / "own.toml"
    path.write_text(SMALLEST.replace(old, new), encoding="utf-8")

    with pytest.raises(RecipeError) as caught:
        find_any("own", tmp_path)

    assert str(caught.value).startswith(f"{path}: {words}")
