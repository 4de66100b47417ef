"""`krelease lint` as a stranger uses it."""

import json
from pathlib import Path

import pytest

from release.lint.catalog import RULES

BAD = "---\nlicense: faipl-1.0-sd\n---\n\n# Model\n\nTODO\n"


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "README.md"
    path.write_text(BAD)
    return path


def test_findings_are_lines_as_linters_print_them(krelease, bad):
    code, out, err = krelease("lint", bad)

    lines = out.splitlines()
    assert code == 7
    assert lines[0].startswith("README.md:1: KR304 warning: ")
    assert lines[1].startswith("README.md:2: KR103 error: ")
    assert lines[2] == "README.md:7: KR406 error: left to fill in: TODO"
    assert lines[3] == f"{bad}: 2 errors, 1 warning; --fix can put 1 right"
    assert err == f"error: {bad}: 2 errors\nhint: --fix puts some of it right\n"


def test_warnings_alone_end_with_zero(krelease, bad):
    code, out, err = krelease("lint", bad, "--ignore", "KR103", "--ignore", "KR406")

    assert (code, err) == (0, "")
    assert "KR304 warning" in out
    assert out.endswith("0 errors, 1 warning\n")


def test_selected_rules_are_the_only_ones(krelease, bad):
    _, out, _ = krelease("lint", bad, "--select", "KR4")

    assert [line.split()[1] for line in out.splitlines()[:-1]] == ["KR406"]


def test_json_has_every_finding(krelease, bad):
    code, out, _ = krelease("lint", bad, "--json")

    document = json.loads(out)
    assert code == 7
    assert document["schema"] == "krelease.lint/1"
    assert (document["n_errors"], document["n_warnings"]) == (2, 1)
    assert document["findings"][2] == {
        "file": "README.md",
        "line": 7,
        "rule": "KR406",
        "name": "placeholder",
        "severity": "error",
        "text": "left to fill in: TODO",
        "fixable": False,
    }


def test_quiet_prints_errors_only(krelease, bad):
    _, out, _ = krelease("lint", bad, "--quiet")

    assert [line.split()[1] for line in out.splitlines()] == ["KR103", "KR406"]


def test_fix_changes_the_card_and_says_how_many(krelease, bad):
    code, out, _ = krelease("lint", bad, "--fix")

    assert code == 7
    assert out.splitlines()[-1] == f"{bad}: 1 error, 1 warning; 1 put right"
    assert bad.read_text() == BAD.replace(
        "license: faipl-1.0-sd",
        "license: other\nlicense_name: faipl-1.0-sd\n"
        "license_link: https://freedevproject.org/faipl-1.0-sd/",
    )


def test_second_fix_changes_nothing(krelease, bad):
    krelease("lint", bad, "--fix")
    before = bad.stat()

    krelease("lint", bad, "--fix")

    assert bad.stat().st_mtime_ns == before.st_mtime_ns


def test_rules_are_listed(krelease):
    code, out, err = krelease("lint", "--rules")

    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == [r.id for r in RULES]
    _, out, _ = krelease("lint", "--rules", "--json")
    assert len(json.loads(out)["rules"]) == len(RULES)


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        ([], 2, "no target"),
        (["--select", "KR9", "."], 2, "no rule begins with KR9"),
        (["--ignore", "", "."], 2, "no rule begins with"),
        (["./nothing"], 4, "not found"),
        (["nothing.md"], 4, "not found"),
        (["/a/b/c"], 4, "not found"),
        (["owner/name", "--fix"], 2, "--fix"),
        (["a b/c"], 2, "OWNER/REPO"),
    ],
)
def test_what_cannot_be_linted_is_one_line_with_a_hint(
    krelease, tmp_path, monkeypatch, arguments, code, word
):
    monkeypatch.chdir(tmp_path)

    found, out, err = krelease("lint", *arguments)

    assert (found, out) == (code, "")
    assert word in err
    assert "\nhint: " in err


def test_binary_card_is_a_finding(krelease, tmp_path):
    (tmp_path / "README.md").write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff")

    code, out, _ = krelease("lint", tmp_path)

    assert code == 7
    assert out.startswith("README.md:1: KR001 error: is not UTF-8 at byte 0\n")
