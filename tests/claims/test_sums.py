"""Sums files: those of coreutils and xxhash, and what is none."""

import subprocess

import pytest

from release.claims.claim import Source
from release.claims.sums import SUMS_LINES_MAX, read_sums_claims
from release.errors import InputError, IntegrityError

SOURCE = Source("named sums", "SUMS")
SHA = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
XXH = "99aa06d3014798d86001c324468d497f"


def read(tmp_path, text, name="SUMS"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_sums_claims(path, SOURCE)


def digests(claims):
    return [(each.name, each.sha256, each.xxh3_128) for each in claims]


@pytest.mark.parametrize("options", [[], ["--binary"], ["--tag"]])
def test_what_sha256sum_writes_is_read(tmp_path, options):
    for name in ("a b.safetensors", "(c) = d.txt", "zwölf"):
        (tmp_path / name).write_bytes(b"")
    names = ["./a b.safetensors", "(c) = d.txt", "zwölf"]
    written = subprocess.run(
        ["sha256sum", *options, *names], cwd=tmp_path, check=True, capture_output=True
    ).stdout

    claims = read(tmp_path, written)

    assert digests(claims) == [(name.removeprefix("./"), SHA, None) for name in names]


@pytest.mark.parametrize("options", [["-H2"], ["-H2", "--tag"]])
def test_what_xxh128sum_writes_is_read(tmp_path, options):
    (tmp_path / "m.safetensors").write_bytes(b"")
    written = subprocess.run(
        ["xxhsum", *options, "m.safetensors"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    ).stdout

    assert digests(read(tmp_path, written)) == [("m.safetensors", None, XXH)]


def test_sums_of_a_release_are_read(release_folder):
    for name in ("SHA256SUMS", "XXH128SUMS"):
        claims = read_sums_claims(release_folder / name, SOURCE)
        assert len(claims) == 6


@pytest.mark.parametrize(
    "text",
    [
        f"{SHA}  m\r\n{XXH} *n\r\n",
        f"# made today\n\n{SHA.upper()}  m\n{XXH}  n",
        f"\ufeff{SHA}  m\nXXH128 (n) = {XXH}\n",
    ],
    ids=["CRLF", "comments and upper case", "byte order mark and both forms"],
)
def test_lines_may_end_and_look_as_programs_write_them(tmp_path, text):
    assert digests(read(tmp_path, text)) == [("m", SHA, None), ("n", None, XXH)]


def test_both_digests_of_one_file_make_one_claim(tmp_path):
    claims = read(tmp_path, f"SHA256 (m) = {SHA}\nXXH128 (m) = {XXH}\n")

    assert digests(claims) == [("m", SHA, XXH)]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("model.safetensors: OK", "line 2: got 'model.safetensors: OK'"),
        (f"{SHA[:40]}  m", "line 2: got"),
        (f"{SHA * 2}  m", "line 2: got"),
        (f"{XXH[:16]}  m", "line 2: got"),
        (f"MD5 (m) = {XXH}", "line 2: got 'MD5 (m)"),
        (f"XXH3 (m) = XXH3_{XXH[:16]}", "line 2: got 'XXH3 (m)"),
        (f"XXH128 (m) = {SHA}", "64 digits, expected 32"),
        (f"SHA256 (m) = {XXH}", "32 digits, expected 64"),
        (f"{SHA} m", "line 2: got"),
        (f"{SHA}  ", "line 2: got"),
        (f"\\{SHA}  a\\qb", "unknown escape"),
        (f"{SHA}  first", "first a second time"),
        (f'{{"sha256": "{SHA}"}}', "line 2: got"),
        (f"{SHA}\tm", "\\u0009"),
    ],
)
def test_line_of_another_form_is_shown(tmp_path, line, shown):
    with pytest.raises(IntegrityError) as caught:
        read(tmp_path, f"{SHA}  first\n{line}\n")

    assert caught.value.code == "sums"
    assert shown in str(caught.value)
    assert "<hex>  <name>" in caught.value.hint


@pytest.mark.parametrize(
    "name",
    ["../m", "/etc/passwd", "a/../../m", "a//b", "c:m", "nul", "a/.git/b", "x "],
)
def test_name_that_leaves_the_folder_is_refused(tmp_path, name):
    with pytest.raises(IntegrityError) as caught:
        read(tmp_path, f"{SHA}  {name}\n")

    assert caught.value.code == "path"


@pytest.mark.parametrize("escaped", ["a\\nb", "a\\\\b", "a\\rb"])
def test_escaped_names_are_unescaped_and_then_refused(tmp_path, escaped):
    with pytest.raises(IntegrityError) as caught:
        read(tmp_path, f"\\{SHA}  {escaped}\n")

    assert caught.value.code == "path"


def test_names_that_differ_in_case_only_are_refused(tmp_path):
    with pytest.raises(IntegrityError) as caught:
        read(tmp_path, f"{SHA}  m\n{SHA}  M\n")

    assert caught.value.code == "path"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "sums"),
        (b"# nothing\n", "sums"),
        (SHA.encode() + b"  \xff\n", "sums"),
        (b"\n" * SUMS_LINES_MAX, "sums-too-large"),
        (b" " * (16 * 2**20 + 1), "sums-too-large"),
    ],
    ids=["empty", "comments only", "not UTF-8", "lines", "bytes"],
)
def test_file_that_is_no_sums_file_is_refused(tmp_path, content, code):
    with pytest.raises(IntegrityError) as caught:
        read(tmp_path, content)

    assert caught.value.code == code


def test_sums_named_after_another_algorithm_are_refused(tmp_path):
    with pytest.raises(IntegrityError) as caught:
        read(tmp_path, f"{XXH}  m\n", name="MD5SUMS")

    assert "another algorithm" in str(caught.value)


def test_folder_is_no_sums_file(tmp_path):
    with pytest.raises(InputError) as caught:
        read_sums_claims(tmp_path, SOURCE)

    assert caught.value.code == "not-a-file"
