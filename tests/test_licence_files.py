"""Licence texts in a release folder: files, zips, manifest, sums, card, dry run."""

import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from release.acquire import gather_texts
from release.current import find_current
from release.folder import build_folder
from release.ingredients import locate
from release.licences.known import licence_text
from release.lint.folder import read_subject
from release.lint.run import lint
from release.preview import preview_build
from release.progress import NoProgress

RAIL = b"CreativeML Open RAIL++-M License\n\nterms\n"
SD1 = b"CreativeML Open RAIL-M\n\nterms\n"
ANXL2, BETA7 = "LICENSE-animagine-xl-2.0.md", "LICENSE-kohaku-xl-beta7.md"
ZIP = "kohaku-xl-gamma-rev2-fp8.zip"


@pytest.fixture(scope="module")
def texts_here(tmp_path_factory):
    """The folder that paths of the definition start from."""
    folder = tmp_path_factory.mktemp("texts")
    (folder / "rail.md").write_bytes(RAIL)
    (folder / "sd1.txt").write_bytes(SD1)
    return folder


@pytest.fixture(scope="module")
def definition(gamma_rev2):
    sources = dict(gamma_rev2.ingredients)
    for name, file in {"anxl2": "rail.md", "beta7": "sd1.txt"}.items():
        sources[name] = sources[name].model_copy(update={"licence_file": file})
    return gamma_rev2.model_copy(update={"ingredients": sources})


@pytest.fixture(scope="module")
def located(definition, ingredients):
    return locate(definition, ingredients, base=Path(), connection=None)


@pytest.fixture(scope="module")
def texts(definition, located, texts_here):
    return gather_texts(definition, located, base=texts_here)


@pytest.fixture(scope="module")
def built(definition, located, texts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("licences") / "gamma-rev2"
    build_folder(
        definition, located, folder, threads=2, progress=NoProgress(), texts=texts
    )
    return folder


def test_every_text_is_in_the_folder_byte_for_byte(built):
    assert (built / "LICENSE").read_bytes() == licence_text("faipl-1.0-sd")
    assert (built / ANXL2).read_bytes() == RAIL
    assert (built / BETA7).read_bytes() == SD1


def test_every_text_is_in_the_zip_and_named_to_its_reader(built):
    with zipfile.ZipFile(built / ZIP) as archive:
        assert archive.read("LICENSE") == licence_text("faipl-1.0-sd")
        assert archive.read(ANXL2) == RAIL
        assert archive.read(BETA7) == SD1
        readme = archive.read("README.txt").decode()
    assert ANXL2 in readme
    assert BETA7 in readme
    assert "pass all these\n  texts on with it and keep" in readme


def test_sums_hold_the_texts(built):
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=built,
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    assert f"{ANXL2}: OK" in checked
    assert f"{BETA7}: OK" in checked


def test_manifest_says_which_text_belongs_to_which_ingredient(built):
    manifest = json.loads((built / "manifest.json").read_text())

    roles = {file["name"]: file["role"] for file in manifest["files"]}
    named = {each["name"]: each.get("licence_file") for each in manifest["ingredients"]}
    assert roles[ANXL2] == roles[BETA7] == "licence"
    assert named == {"anxl2": ANXL2, "anxl3": None, "base8": None, "beta7": BETA7}


def test_card_leads_to_the_texts_and_its_lint_is_content(built):
    card = (built / "README.md").read_text()

    found = lint(read_subject(built, threads=1, progress=NoProgress()))

    assert f"the text is in `{ANXL2}`" in card
    assert f"the text is in `{BETA7}`" in card
    assert not [each for each in found if each.rule.id in {"KR104", "KR108", "KR201"}]


def test_dry_run_knows_the_texts_and_the_zip_to_the_byte(
    definition, located, texts, built, tmp_path
):
    planned = preview_build(definition, located, tmp_path / "new", texts=texts).files

    sizes = {file.name: file.nbytes for file in planned if file.role != "picture"}
    assert sizes[ANXL2] == len(RAIL)
    for name in (ANXL2, BETA7, ZIP, "SHA256SUMS", "XXH128SUMS"):
        assert sizes[name] == (built / name).stat().st_size


def test_dry_run_shows_what_is_missing(gamma_rev2, located, tmp_path):
    texts = gather_texts(gamma_rev2, located, base=tmp_path)

    preview = preview_build(gamma_rev2, located, tmp_path / "new", texts=texts)

    assert any("ingredients.anxl2.licence_file" in each for each in preview.warnings)


def current(definition, located, folder, texts):
    return find_current(
        definition, located, folder, threads=2, progress=NoProgress(), texts=texts
    )


def test_folder_with_its_texts_is_current(definition, located, built, texts):
    assert current(definition, located, built, texts)


def test_folder_is_not_current_once_a_text_changed(
    definition, located, built, texts_here, tmp_path
):
    for name in ("rail.md", "sd1.txt"):
        shutil.copy(texts_here / name, tmp_path)
    (tmp_path / "rail.md").write_bytes(RAIL.replace(b"terms", b"words"))

    texts = gather_texts(definition, located, base=tmp_path)

    assert current(definition, located, built, texts) is None


def test_folder_is_not_current_once_a_text_is_no_longer_named(
    gamma_rev2, located, built, tmp_path
):
    texts = gather_texts(gamma_rev2, located, base=tmp_path)

    assert current(gamma_rev2, located, built, texts) is None


def test_release_under_another_licence_has_its_text_and_its_id_on_the_hub(
    gamma_rev2, ingredients, texts_here, tmp_path
):
    sources = {
        name: source.model_copy(update={"licence": "openrail++"})
        for name, source in gamma_rev2.ingredients.items()
    }
    changes = {
        "name": "openrail++",
        "link": "https://example.org/rail",
        "file": "rail.md",
    }
    licence = gamma_rev2.licence.model_copy(update=changes)
    other = gamma_rev2.model_copy(update={"licence": licence, "ingredients": sources})
    located = locate(other, ingredients, base=Path(), connection=None)
    texts = gather_texts(other, located, base=texts_here)
    folder = tmp_path / "out"

    build_folder(other, located, folder, threads=2, progress=NoProgress(), texts=texts)

    card = (folder / "README.md").read_text()
    assert (folder / "LICENSE").read_bytes() == RAIL
    assert card.startswith("---\nlicense: openrail++\nlanguage:")
    assert "**It asks.** a copy of this licence goes with every copy." in card
    with zipfile.ZipFile(folder / ZIP) as archive:
        assert archive.read("LICENSE") == RAIL
