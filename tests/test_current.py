"""A release folder is taken as it is only if building would change nothing."""

import json
import shutil
from pathlib import Path

import pytest

from release.card.presentation import Presentation, presentation_of
from release.current import find_current
from release.errors import CardError
from release.ingredients import locate
from release.progress import NoProgress

FP16 = "kohaku-xl-gamma-rev2-fp16.safetensors"


@pytest.fixture
def find(ingredients):
    """Ask whether a folder is what a definition would build."""

    def ask(definition, folder, paths=ingredients, presentation=None):
        located = locate(definition, paths, base=Path(), connection=None)
        return find_current(
            definition,
            located,
            folder,
            threads=2,
            progress=NoProgress(),
            presentation=presentation or presentation_of(definition, Path()),
        )

    return ask


@pytest.fixture
def copy(tmp_path, release_folder):
    return Path(shutil.copytree(release_folder, tmp_path / "copy"))


def test_folder_just_built_is_current(find, gamma_rev2, release_folder):
    manifest = find(gamma_rev2, release_folder)

    assert manifest is not None
    assert manifest.to_json() == (release_folder / "manifest.json").read_text()


def test_card_without_the_release_before_is_another_card(
    find, gamma_rev2, release_folder
):
    assert find(gamma_rev2, release_folder, presentation=Presentation()) is None


def test_wrong_template_is_told_and_not_taken_for_a_damaged_folder(
    find, gamma_rev2, release_folder, tmp_path
):
    (tmp_path / "card").mkdir()
    (tmp_path / "card" / "title.md.j2").write_text("{{ nothing }}")

    with pytest.raises(CardError, match="'nothing' is undefined"):
        find(gamma_rev2, release_folder, presentation=Presentation(templates=tmp_path))


def with_release(definition, **changes):
    release = definition.release.model_copy(update=changes)
    return definition.model_copy(update={"release": release})


@pytest.mark.parametrize(
    "changes",
    [
        {"variants": ("fp16", "fp8", "bf16")},
        {"variants": ("fp16",), "archives": ()},
        {"archives": ()},
        {"archives": ("fp8", "fp16")},
        {"file_stem": "another"},
        {"tag": "rev3"},
        {"title": "Another"},
        {"summary": "Another."},
        {"author": "Another"},
        {"date": "2025-01-01"},
        {"repo": "another/place"},
    ],
    ids=" and ".join,
)
def test_folder_of_a_definition_that_was_edited_is_not_current(
    find, gamma_rev2, release_folder, changes
):
    assert find(with_release(gamma_rev2, **changes), release_folder) is None


@pytest.mark.parametrize(
    "change", ["steps", "convention", "copy_from", "vae", "missing"]
)
def test_folder_of_another_recipe_is_not_current(
    find, gamma_rev2, release_folder, change
):
    value = {
        "steps": {
            **gamma_rev2.recipe.steps,
            "gamma": "beta7 + 0.9 * (anxl3 - anxl2) + 0.25 * (base8 - beta7)",
        },
        "convention": "sd-mecha",
        "copy_from": "base8",
        "vae": "anxl3",
        "missing": "keep:beta7",
    }[change]
    recipe = gamma_rev2.recipe.model_copy(update={change: value})

    edited = gamma_rev2.model_copy(update={"recipe": recipe})

    assert find(edited, release_folder) is None


def with_ingredient(definition, **changes):
    source = definition.ingredients["base8"].model_copy(update=changes)
    ingredients = {**definition.ingredients, "base8": source}
    return definition.model_copy(update={"ingredients": ingredients})


@pytest.mark.parametrize(
    "changes", [{"licence": "mit"}, {"title": "Another"}, {"sha256": "0" * 64}], ids=str
)
def test_folder_whose_ingredients_are_described_otherwise_is_not_current(
    find, gamma_rev2, release_folder, changes
):
    assert find(with_ingredient(gamma_rev2, **changes), release_folder) is None


def test_folder_of_another_ingredient_file_is_not_current(
    find, gamma_rev2, release_folder, ingredients
):
    swapped = {**ingredients, "anxl2": ingredients["anxl3"]}

    assert find(gamma_rev2, release_folder, swapped) is None


def test_same_ingredient_under_another_name_on_disk_is_current(
    find, gamma_rev2, release_folder, ingredients, tmp_path
):
    moved = shutil.copy(ingredients["anxl2"], tmp_path / "moved.safetensors")

    assert find(gamma_rev2, release_folder, {**ingredients, "anxl2": Path(moved)})


def flip(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "bit in a weight": lambda folder: flip(folder / FP16, -1),
    "bit in the zip": lambda folder: flip(
        folder / "kohaku-xl-gamma-rev2-fp8.zip", 100_000
    ),
    "card edited": lambda folder: (folder / "README.md").write_text("# mine"),
    "card missing": lambda folder: (folder / "README.md").unlink(),
    "licence missing": lambda folder: (folder / "LICENSE").unlink(),
    "checkpoint missing": lambda folder: (folder / FP16).unlink(),
    "manifest missing": lambda folder: (folder / "manifest.json").unlink(),
    "manifest not JSON": lambda folder: (folder / "manifest.json").write_text("{"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_damaged_folder_is_not_current(find, gamma_rev2, copy, case):
    DAMAGES[case](copy)

    assert find(gamma_rev2, copy) is None


def test_folder_whose_header_was_edited_is_not_current(find, gamma_rev2, copy):
    data = (copy / FP16).read_bytes()
    author = b'"modelspec.author":"KohakuBlueleaf"'
    (copy / FP16).write_bytes(data.replace(author, author.replace(b"Ko", b"ko")))

    assert find(gamma_rev2, copy) is None


def test_manifest_that_hides_a_rehearsal_is_not_current(find, gamma_rev2, copy):
    document = json.loads((copy / "manifest.json").read_text())
    document["rehearsal"] = False
    (copy / "manifest.json").write_text(json.dumps(document))

    assert find(gamma_rev2, copy) is None


def test_folder_that_is_not_there_is_not_current(find, gamma_rev2, tmp_path):
    assert find(gamma_rev2, tmp_path / "nowhere") is None
