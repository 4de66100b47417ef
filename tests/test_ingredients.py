"""Where ingredients are, and whether they are the declared files."""

from hashlib import sha256  # noqa: TID251 - an oracle of its own
from pathlib import Path

import pytest

from release.errors import InputError, IntegrityError, RecipeError, UsageError
from release.ingredients import check_digests, locate, require_all, require_real
from release.progress import NoProgress
from release.publish import ensure_folder


def declare(definition, name, **changes):
    source = definition.ingredients[name].model_copy(update=changes)
    ingredients = {**definition.ingredients, name: source}
    return definition.model_copy(update={"ingredients": ingredients})


def find(definition, paths, base=Path()):
    located = locate(definition, paths, base=base, connection=None)
    return {item.name: item for item in located}


def test_given_files_are_at_hand_with_their_sizes(gamma_rev2, ingredients):
    found = find(gamma_rev2, ingredients)

    assert list(found) == ["anxl2", "anxl3", "base8", "beta7"]
    for name, item in found.items():
        assert item.state == "at hand"
        assert item.path == ingredients[name]
        assert item.nbytes == ingredients[name].stat().st_size
        assert item.title == gamma_rev2.ingredients[name].title


def test_path_of_the_definition_counts_from_its_own_folder(gamma_rev2, ingredients):
    path = ingredients["base8"]
    definition = declare(gamma_rev2, "base8", path=path.name)

    found = find(definition, {}, base=path.parent)

    assert found["base8"].path == path
    assert found["beta7"].state == "missing"


def test_path_given_by_the_user_wins_over_the_definition(gamma_rev2, ingredients):
    definition = declare(gamma_rev2, "base8", path="nowhere.safetensors")

    found = find(definition, {"base8": ingredients["anxl2"]})

    assert found["base8"].path == ingredients["anxl2"]


def test_ingredient_that_the_recipe_does_not_have_is_refused_with_a_guess(
    gamma_rev2, ingredients
):
    with pytest.raises(UsageError) as caught:
        find(gamma_rev2, {"bata7": ingredients["beta7"]})

    assert (caught.value.code, caught.value.exit_code) == ("unknown-ingredient", 2)
    assert "bata7" in str(caught.value)
    assert "beta7" in caught.value.hint


@pytest.mark.parametrize("kind", ["absent", "folder"])
def test_path_that_leads_to_no_file_is_refused(gamma_rev2, tmp_path, kind):
    path = tmp_path if kind == "folder" else tmp_path / "absent"

    with pytest.raises(InputError) as caught:
        find(gamma_rev2, {"beta7": path})

    assert str(path) in str(caught.value)


def test_missing_ingredients_are_named_with_what_to_pass(gamma_rev2, ingredients):
    some = {name: ingredients[name] for name in ("anxl2", "anxl3")}
    located = locate(gamma_rev2, some, base=Path(), connection=None)

    with pytest.raises(RecipeError) as caught:
        require_all(located)

    assert (caught.value.code, caught.value.exit_code) == ("missing-ingredient", 3)
    assert "base8 (Kohaku-XL base8), beta7 (Kohaku-XL beta7)" in str(caught.value)
    assert "--ingredient base8=PATH --ingredient beta7=PATH" in caught.value.hint


def test_nothing_is_missing_when_all_are_given(gamma_rev2, ingredients):
    require_all(locate(gamma_rev2, ingredients, base=Path(), connection=None))


def test_declared_digest_that_holds_is_accepted(gamma_rev2, ingredients):
    digest = sha256(ingredients["base8"].read_bytes()).hexdigest()
    definition = declare(gamma_rev2, "base8", sha256=digest)
    located = locate(definition, ingredients, base=Path(), connection=None)

    check_digests(located, progress=NoProgress(), threads=2)

    assert {item.name: item.sha256 for item in located}["base8"] == digest


def test_declared_digest_that_differs_is_refused_before_building(
    gamma_rev2, ingredients, tmp_path
):
    wrong = "0" * 64
    found = sha256(ingredients["base8"].read_bytes()).hexdigest()
    definition = declare(gamma_rev2, "base8", sha256=wrong)
    located = locate(definition, ingredients, base=Path(), connection=None)

    with pytest.raises(IntegrityError) as caught:
        ensure_folder(
            definition, located, tmp_path / "out", threads=2, progress=NoProgress()
        )

    assert (caught.value.code, caught.value.exit_code) == ("ingredient-digest", 5)
    assert f"ingredient base8 has SHA-256 {found}; expected {wrong}" in str(
        caught.value
    )
    assert list(tmp_path.iterdir()) == []


def test_stand_ins_are_not_real_ingredients(gamma_rev2, ingredients):
    located = locate(gamma_rev2, ingredients, base=Path(), connection=None)

    with pytest.raises(UsageError, match="anxl2, anxl3, base8, beta7") as refusal:
        require_real(located)

    assert refusal.value.code == "stand-ins"
