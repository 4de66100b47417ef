"""The licence of a release, from its definition; and what stops one."""

import json

import pytest

from release.build import plan_build
from release.catalog.find import catalog_names, find_definition
from release.errors import CardError
from release.licences.release import check_licence, explain_licence, licence_parts
from release.manifest import read_manifest


def changed(definition, name, **changes):
    source = definition.ingredients[name].model_copy(update=changes)
    ingredients = {**definition.ingredients, name: source}
    return definition.model_copy(update={"ingredients": ingredients})


def licensed(definition, name):
    licence = definition.licence.model_copy(update={"name": name})
    return definition.model_copy(update={"licence": licence})


@pytest.mark.parametrize("name", catalog_names())
def test_every_release_of_the_catalog_may_have_its_licence(name, tmp_path):
    definition, _ = find_definition(name, tmp_path)

    assert check_licence(definition) == ()
    assert explain_licence(definition).allowed == ("faipl-1.0-sd",)


def test_both_sides_of_a_difference_and_the_base_have_a_say(gamma_rev2):
    names = [part.name for part in licence_parts(gamma_rev2)]

    assert names == ["sdxl", "beta7", "anxl3", "anxl2", "base8"]


def test_ingredient_that_cancels_out_has_no_say(gamma_rev2):
    steps = {**gamma_rev2.recipe.steps, "gamma": "beta7 + 0 * base8 + anxl3 - anxl2"}
    recipe = gamma_rev2.recipe.model_copy(update={"steps": steps})

    parts = licence_parts(gamma_rev2.model_copy(update={"recipe": recipe}))

    assert "base8" not in [part.name for part in parts]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda d: changed(d, "base8", licence_reason=None), "licence-undeclared"),
        (lambda d: changed(d, "anxl2", licence="cc-by-nc-4.0"), "licence-conflict"),
        (lambda d: licensed(d, "openrail++"), "licence-forbidden"),
        (lambda d: licensed(d, "My own"), "licence-not-known"),
    ],
)
def test_build_is_refused_before_anything_is_read(gamma_rev2, change, code):
    with pytest.raises(CardError) as refused:
        plan_build(change(gamma_rev2), {})

    assert refused.value.code == code


def test_command_refuses_before_the_hub_is_asked(
    krelease, tmp_path, monkeypatch, own_definition
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

    code, _, err = krelease("publish", "mine")

    assert code == 7
    assert "ingredient base8 (Kohaku-XL base8): declares no licence" in err
    assert "ingredients.base8.licence_reason" in err


def test_reason_stands_in_manifest_and_card(release_folder):
    manifest = read_manifest(release_folder / "manifest.json")
    reasons = {each.name: each.licence_reason for each in manifest.ingredients}

    assert reasons.pop("base8") == "The maker's own model, never published alone."
    assert set(reasons.values()) == {None}
    card = (release_folder / "README.md").read_text()
    assert card.count("used all the same: The maker's own model") == 1


def test_command_explains_step_by_step(krelease):
    code, out, err = krelease("licence", "gamma-rev2")

    assert (code, err) == (0, "")
    assert "allowed: faipl-1.0-sd\n" in out
    assert "used all the same: The maker's own model" in out
    assert out.splitlines()[-1].startswith("Not legal advice")


def test_command_as_json_says_the_same(krelease):
    _, out, _ = krelease("licence", "gamma-rev2", "--json")

    document = json.loads(out)
    assert document["schema"] == "krelease.licence/1"
    assert document["allowed"] == ["faipl-1.0-sd"]
    assert document["problem"] is None
    assert [step["licence"] for step in document["steps"]] == [
        "openrail++",
        "creativeml-openrail-m",
        "faipl-1.0-sd",
        "openrail++",
        None,
    ]


def test_quiet_command_prints_the_allowed_licences(krelease):
    assert krelease("licence", "gamma-rev2", "-q") == (0, "faipl-1.0-sd\n", "")


def test_command_shows_the_result_and_then_fails(krelease, tmp_path, own_definition):
    code, out, err = krelease("licence", "--definition", tmp_path / "mine.toml")

    assert code == 7
    assert "chosen:  faipl-1.0-sd (not allowed)" in out
    assert err.startswith("error: ingredient base8")


def test_problem_is_part_of_the_json(krelease, tmp_path, own_definition):
    code, out, _ = krelease("licence", "--definition", tmp_path / "mine.toml", "--json")

    assert code == 7
    assert json.loads(out)["problem"]["code"] == "licence-undeclared"


@pytest.fixture
def own_definition(tmp_path):
    """mine.toml, gamma-rev2 without the reason that base8 is used for."""
    _, text = find_definition("gamma-rev2", tmp_path)
    reason = 'licence_reason = "The maker\'s own model, never published alone."\n'
    assert reason in text
    text = text.replace(reason, "").replace('"gamma-rev2"', '"mine"')
    (tmp_path / "mine.toml").write_text(text)
