"""krelease card: what it prints, what it writes, what it refuses."""

import json
import shutil

import pytest


@pytest.fixture
def built(release_folder, tmp_path, monkeypatch):
    """A folder that holds gamma-rev2 as build leaves it; the test stands in it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(release_folder, tmp_path / "gamma-rev2")
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_card_is_the_one_that_publish_would_write(krelease, built):
    code, _, _ = krelease("card", "gamma-rev2", "--out", "page")

    assert code == 0
    assert names(built / "page") == ["README.md", "lineage.svg"]
    again = (built / "page" / "README.md").read_text()
    assert "### Since Kohaku-XL gamma rev1" in again
    picture = (built / "page" / "lineage.svg").read_bytes()
    assert picture == (built / "gamma-rev2" / "lineage.svg").read_bytes()


def test_page_is_printed_without_a_folder_to_write_it_to(krelease, built):
    code, out, err = krelease("card", "gamma-rev2")

    assert code == 0
    assert out.startswith("---\nlicense: other\n")
    assert err == "this is README.md; --out DIR writes it, and lineage.svg\n"
    assert names(built) == ["gamma-rev2"]


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        ("hf", ["README.md", "lineage.svg"]),
        (
            "civitai",
            ["civitai-model.html", "civitai-version.html", "civitai.json"],
        ),
        ("seaart", ["seaart.txt"]),
        ("github", ["github-release.md"]),
    ],
)
def test_files_of_a_site(krelease, built, site, expected):
    code, out, err = krelease("card", "gamma-rev2", "--for", site, "--out", "o", "-q")

    assert (code, err) == (0, "")
    assert out.split() == [f"o/{name}" for name in expected]
    assert names(built / "o") == sorted(expected)


def test_document_holds_every_file(krelease, built):
    code, out, err = krelease("card", "gamma-rev2", "--for", "github", "--json")

    document = json.loads(out)
    assert (code, err) == (0, "")
    assert document["schema"] == "krelease.card/1"
    assert document["site"] == "github"
    assert document["files"].keys() == {"github-release.md"}


def test_release_folder_elsewhere_is_named_with_from(krelease, built):
    (built / "gamma-rev2").rename(built / "elsewhere")

    code, out, _ = krelease("card", "gamma-rev2", "--from", "elsewhere", "-q")

    assert (code, out) == (0, "README.md\nlineage.svg\n")


def test_without_a_release_folder_it_is_said_what_lacks(
    krelease, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)

    code, out, err = krelease("card", "gamma-rev2", "--out", "page")

    assert (code, out) == (7, "")
    assert err == (
        "error: gamma-rev2/manifest.json: is not there, so sizes, digests and error "
        "figures of gamma-rev2 are not known\n"
        "hint: krelease build gamma-rev2 makes it; --from names the release folder\n"
    )
    assert names(tmp_path) == []


def test_release_folder_of_another_release_is_refused(krelease, built):
    code, _, err = krelease("card", "gamma-rev1", "--from", "gamma-rev2")

    assert code == 7
    assert "release is gamma-rev2, the definition says gamma-rev1" in err


def test_file_that_is_there_is_only_replaced_by_force(krelease, built):
    (built / "page").mkdir()
    (built / "page" / "lineage.svg").write_text("mine")

    refused, _, err = krelease("card", "gamma-rev2", "--out", "page")

    assert refused == 9
    assert "lineage.svg: already exists" in err
    assert names(built / "page") == ["lineage.svg"]
    assert krelease("card", "gamma-rev2", "--out", "page", "--force")[0] == 0
    assert (built / "page" / "lineage.svg").read_text().startswith("<svg")


def test_card_of_a_built_release_is_never_replaced(krelease, built):
    before = (built / "gamma-rev2" / "README.md").read_bytes()

    code, _, err = krelease("card", "gamma-rev2", "--out", "gamma-rev2", "--force")

    assert code == 2
    assert "whose manifest holds the digest of its card" in err
    assert (built / "gamma-rev2" / "README.md").read_bytes() == before


def test_unknown_site_is_refused_with_the_nearest(krelease, built):
    code, _, err = krelease("card", "gamma-rev2", "--for", "civitay")

    assert code == 2
    assert "--for civitay: expected one of hf, civitai, seaart, github" in err
    assert "hint: did you mean civitai?" in err


def test_own_template_is_used_and_its_mistake_leaves_nothing(krelease, built):
    own = built / "own" / "card"
    own.mkdir(parents=True)
    (own / "title.md.j2").write_text("# My {{ release.title }}\n")
    options = ("card", "gamma-rev2", "--templates", "own")

    assert "# My Kohaku-XL gamma rev2\n" in krelease(*options)[1]

    (own / "title.md.j2").write_text("# My\n{{ titel }}\n")
    code, out, err = krelease(*options, "--out", "page")
    assert (code, out) == (7, "")
    assert "own/card/title.md.j2, line 2: 'titel' is undefined" in err
    assert not (built / "page").exists()


def test_build_and_publish_take_templates_too(krelease, built, given):
    own = built / "own" / "card"
    own.mkdir(parents=True)
    (own / "title.md.j2").write_text("# My {{ release.title }}\n")
    build = ("build", "gamma-rev2", *given, "--templates", "own", "--out", "mine")

    assert krelease(*build)[0] == 0
    assert "\n# My Kohaku-XL gamma rev2\n" in (built / "mine" / "README.md").read_text()

    (own / "title.md.j2").write_text("{% for i in range(9) %}")
    code, _, err = krelease(*build[:-1], "other")
    assert code == 7
    assert "title.md.j2, line 1: " in err
    assert names(built) == ["gamma-rev2", "mine", "own"]
