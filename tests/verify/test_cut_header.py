"""Files that end before there is anything to read."""

import json
import zipfile

import pytest


@pytest.mark.parametrize("nbytes", [0, 5, 8, 40])
def test_file_that_ends_within_its_header_is_truncated(folder, krelease, nbytes):
    path = folder / "alone" / "x.safetensors"
    path.parent.mkdir()
    path.write_bytes((folder / "small-fp16.safetensors").read_bytes()[:nbytes])

    for place in (path, path.parent):
        code, out, err = krelease("verify", place, "--json")
        (found,) = json.loads(out)["files"]
        assert code == 5, err
        assert found["verdict"] == "truncated"
        assert found["nbytes"] == nbytes


def test_length_before_something_else_is_no_cut_header(tmp_path, krelease):
    path = tmp_path / "x.safetensors"
    path.write_bytes((1000).to_bytes(8, "little") + b"no header at all")

    assert krelease("verify", path)[0] == 4


def test_archive_without_files_is_unknown(tmp_path, krelease):
    path = tmp_path / "nothing.zip"
    zipfile.ZipFile(path, "w").close()

    code, out, err = krelease("verify", path)

    assert code == 5
    assert "holds no files" in out
    assert "holds no files" in err


def test_members_that_differ_in_case_are_both_named(tmp_path, krelease):
    path = tmp_path / "two.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.safetensors", b"x")
        archive.writestr("A.safetensors", b"y")

    _, _, err = krelease("verify", path)

    assert "a.safetensors and A.safetensors differ in case only" in err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"nbytes": "12"}, "nbytes: got '12', expected a whole number"),
        ({"nbytes": None}, "nbytes: got None, expected a whole number"),
        ({"name": 3}, "name: got 3, expected a text"),
    ],
)
def test_manifest_of_another_type_says_what_was_expected(
    folder, krelease, change, words
):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][0] |= change
    path.write_text(json.dumps(manifest))

    code, _, err = krelease("verify", folder)

    assert code == 5
    assert words in err


def test_manifest_without_a_field_or_cut_is_told_in_words(folder, krelease):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["files"][0]["nbytes"]
    path.write_text(json.dumps(manifest))

    assert "nbytes: is not there" in krelease("verify", folder)[2]
    path.write_text(path.read_text()[:-40])
    assert "is no JSON" in krelease("verify", folder)[2]
