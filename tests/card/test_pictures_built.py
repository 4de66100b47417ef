"""A release that is built with --pictures: the picture is a file like the others."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from release.card.presentation import presentation_of
from release.current import find_current
from release.folder import build_folder
from release.ingredients import locate
from release.preview import preview_build
from release.progress import NoProgress

NAME = "error-by-block.svg"


def located(definition, ingredients):
    return locate(definition, ingredients, base=Path(), connection=None)


@pytest.fixture(scope="module")
def pictured(tmp_path_factory, ingredients, gamma_rev2):
    """A release folder with pictures. Never write to it: copy it."""
    folder = tmp_path_factory.mktemp("pictured") / "gamma-rev2"
    build_folder(
        gamma_rev2,
        located(gamma_rev2, ingredients),
        folder,
        threads=1,
        progress=NoProgress(),
        presentation=presentation_of(gamma_rev2, Path(), has_pictures=True),
    )
    return folder


@pytest.fixture
def current(gamma_rev2, ingredients):
    """Ask whether a folder is what a build would leave."""

    def ask(folder, *, has_pictures):
        return find_current(
            gamma_rev2,
            located(gamma_rev2, ingredients),
            folder,
            threads=2,
            progress=NoProgress(),
            presentation=presentation_of(gamma_rev2, Path(), has_pictures=has_pictures),
        )

    return ask


@pytest.fixture
def here(pictured, tmp_path, monkeypatch):
    """Stand in a folder with a copy of the release."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(pictured, "gamma-rev2")
    return tmp_path


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


def test_picture_is_the_only_file_more_and_weights_are_the_same(
    pictured, release_folder
):
    names, plain = ({p.name for p in f.iterdir()} for f in (pictured, release_folder))
    with_it, without = manifest_of(pictured), manifest_of(release_folder)

    assert names - plain == {NAME}
    assert plain <= names
    assert with_it["checkpoints"] == without["checkpoints"]
    (record,) = (file for file in with_it["files"] if file["name"] == NAME)
    assert record["role"] == "picture"
    assert record["nbytes"] == (pictured / NAME).stat().st_size
    assert f"]({NAME})" in (pictured / "README.md").read_text()
    assert f"]({NAME})" not in (release_folder / "README.md").read_text()


def test_sums_and_manifest_vouch_for_the_picture(pictured, krelease):
    subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"],
        cwd=pictured,
        check=True,
    )
    code, out, _ = krelease("verify", pictured)

    assert code == 0
    assert NAME in (pictured / "SHA256SUMS").read_text()
    assert f"intact  {NAME}" in out


def test_dry_run_says_that_it_would_be_there(
    pictured, gamma_rev2, ingredients, tmp_path
):
    found = preview_build(
        gamma_rev2,
        located(gamma_rev2, ingredients),
        tmp_path / "out",
        has_pictures=True,
    )

    planned = {file.name: file.nbytes for file in found.files}
    assert planned.keys() == {path.name for path in pictured.iterdir()}
    for name in ("SHA256SUMS", "XXH128SUMS"):
        assert planned[name] == (pictured / name).stat().st_size


def test_folder_is_current_only_if_the_same_pictures_are_wanted(
    pictured, release_folder, current
):
    assert current(pictured, has_pictures=True) is not None
    assert current(pictured, has_pictures=False) is None
    assert current(release_folder, has_pictures=True) is None


def test_folder_with_a_picture_nobody_asks_for_is_not_current(
    release_folder, pictured, current, tmp_path
):
    folder = Path(shutil.copytree(release_folder, tmp_path / "copy"))
    document = manifest_of(folder)
    (picture,) = (f for f in manifest_of(pictured)["files"] if f["name"] == NAME)
    document["files"].append(picture)
    shutil.copy(pictured / NAME, folder)
    (folder / "manifest.json").write_text(json.dumps(document))

    assert current(folder, has_pictures=False) is None


def test_folder_of_before_blocks_were_kept_is_not_current(
    release_folder, current, tmp_path
):
    folder = Path(shutil.copytree(release_folder, tmp_path / "copy"))
    document = manifest_of(folder)
    for record in document["checkpoints"]:
        del record["blocks"]
    (folder / "manifest.json").write_text(json.dumps(document))

    assert current(folder, has_pictures=False) is None


def test_card_of_it_comes_with_its_picture(here, krelease):
    code, out, _ = krelease("card", "gamma-rev2", "--out", "page")

    assert code == 0
    assert out.split() == ["page/README.md", "page/lineage.svg", f"page/{NAME}"]
    for name in ("README.md", NAME):
        built = here / "gamma-rev2" / name
        assert (here / "page" / name).read_bytes() == built.read_bytes()


def test_plot_is_the_picture_alone(here, krelease):
    assert krelease("card", "gamma-rev2", "--plot", "e.svg") == (0, "e.svg\n", "")
    code, out, _ = krelease("card", "gamma-rev2", "--plot", "e.png", "--json")

    assert (here / "e.svg").read_bytes() == (here / "gamma-rev2" / NAME).read_bytes()
    assert (here / "e.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert (code, json.loads(out)) == (
        0,
        {"schema": "krelease.card/1", "plot": "e.png"},
    )
    assert {path.name for path in here.iterdir()} == {"gamma-rev2", "e.svg", "e.png"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--plot", "e.svg", "--out", "page"), 2, "--plot and --out"),
        (("--plot", "e.jpg"), 2, "ends in .png or .svg"),
        (("--plot", "gamma-rev2/README.svg/x.svg"), None, "is not a folder"),
        (("--plot", f"gamma-rev2/{NAME}"), None, "already exists"),
        (("--plot", "e.svg", "--from", "nowhere"), None, "is not there"),
    ],
)
def test_plot_that_cannot_be_is_refused_and_nothing_is_written(
    here, krelease, arguments, code, words
):
    before = {path: path.stat().st_mtime_ns for path in here.rglob("*")}

    found, out, err = krelease("card", "gamma-rev2", *arguments)

    assert out == ""
    assert found == code if code else found > 0
    assert words in err
    assert {path: path.stat().st_mtime_ns for path in here.rglob("*")} == before


def test_plot_of_another_release_is_refused(here, krelease):
    shutil.move("gamma-rev2", "gamma-rev1")

    code, _, err = krelease("card", "gamma-rev1", "--plot", "e.svg")

    assert code > 0
    assert "release is gamma-rev2, the definition says gamma-rev1" in err
    assert not (here / "e.svg").exists()


@pytest.mark.parametrize("command", ["build", "publish"])
def test_absent_matplotlib_is_said_before_any_work(
    given, krelease, tmp_path, monkeypatch, command
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("release.pictures.file.find_spec", lambda _: None)

    code, out, err = krelease(command, "gamma-rev2", *given, "--pictures")

    assert code > 0
    assert out == ""
    assert err == (
        "error: --pictures: matplotlib is not installed\n"
        "hint: run: pip install 'krelease[plots]'\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command", [("build",), ("publish", "--rehearse")], ids=" ".join
)
def test_dry_run_of_both_commands_lists_the_picture(
    given, krelease, tmp_path, monkeypatch, command
):
    monkeypatch.chdir(tmp_path)

    code, out, _ = krelease(
        *command, "gamma-rev2", *given, "--pictures", "--dry-run", "--json"
    )

    assert code == 0
    assert NAME in {file["name"] for file in json.loads(out)["files"]}
