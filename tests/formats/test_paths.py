"""Relative paths from other files: what may be used below a folder."""

import pytest

from release.errors import IntegrityError
from release.formats.paths import safe_relative_path, safe_relative_paths

REFUSED = [
    "/etc/passwd", "//server/share", "..", ".", "", "../x", "a/../b", "a/..", "a/./b",
    "./a", "a//b", "a/", "/", "C:\\x", "C:x", "c:/x", "a:b", "x:stream",
    "\\\\server\\x",    "a\\b", "..\\x", "a\0b",
    "a\nb", "a\x7fb", "a\x1b[31m", "a\u202eb", "a\u200bb",
    "a\ufeffb", "a\u2028b", "a\ue000b", "a\ud800", "a\U000e0041", "e\u0301",
    "a.", "a ", "a./b", "a /b", "...", "NUL", "nul", "NUL.txt", "con", "a/COM1.tar.gz",
    "LPT9", "aux.", "prn .txt", "COM²", "CONIN$", ".git", ".GIT/config", "a/.git",
    ".cache/x", "n" * 1025, "é" * 513,
]  # fmt: skip

ALLOWED = [
    "model.safetensors", "a/b/c.txt", "~", "~root/x", "$HOME", "%2e%2e/x", "-rf",
    "--force", "a b", ".gitattributes", ".gitignore", "..a", "a..b", "nul1", "console",
    "com", "com10", "模型.txt", "é", "n" * 1024, "x (1).zip", "'; rm", "*?<>|",
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_path_that_may_escape_or_differ_between_systems_is_refused(text):
    with pytest.raises(IntegrityError) as caught:
        safe_relative_path(text)

    assert caught.value.code == "path"
    assert caught.value.hint
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", ALLOWED)
def test_ordinary_path_is_taken_literally(text, tmp_path):
    path = safe_relative_path(text)

    assert str(path) == text
    assert (tmp_path / path).is_relative_to(tmp_path)


@pytest.mark.parametrize(
    "pair", [("a", "a"), ("Model", "model"), ("straße", "STRASSE")]
)
def test_two_paths_that_are_one_file_somewhere_are_refused(pair):
    with pytest.raises(IntegrityError) as caught:
        safe_relative_paths(pair)

    assert caught.value.code == "path"


def test_different_paths_are_returned_in_order():
    paths = safe_relative_paths(["b/x", "a", "b/y"])

    assert [str(path) for path in paths] == ["b/x", "a", "b/y"]
