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
