"""Putting cards right: the rule is kept afterwards, and nothing else has changed."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from release.errors import OutputError, UsageError
from release.lint.catalog import RULES
from release.lint.fix import fix_card, fixed_text
from release.lint.rule import Edit
from release.lint.run import lint
from release.manifest import read_manifest

LICENCE = "license: other\nlicense_name: faipl-1.0-sd\nlicense_link: LICENSE\n"

FIXABLE = [
    ("KR101", LICENCE, ""),
    ("KR102", "license_link: LICENSE\n", ""),
    ("KR102", "license_name: faipl-1.0-sd\nlicense_link: LICENSE\n", ""),
    ("KR103", "name: faipl-1.0-sd", "name: fair-ai-public-license"),
    ("KR103", LICENCE, "license: faipl-1.0-sd\n"),
    ("KR206", "diffusion-single-file", "diffusers"),
    ("KR301", "  parameters:", "  parameter:"),
    ("KR301", "guidance_scale", "guidence-scale"),
    ("KR301", "datasets:", "dataset:"),
    ("KR303", "base_model_relation: merge\n", ""),
    ("KR304", "pipeline_tag: text-to-image\n", ""),
]


def front(text: str) -> dict[str, object]:
    return yaml.safe_load(text.split("---\n")[1])


@pytest.mark.parametrize(("rule", "old", "new"), FIXABLE)
def test_fix_restores_the_fields_of_the_good_card(draft, tmp_path, rule, old, new):
    good = draft.text
    draft.put(old, new)
    assert rule in draft.rules()
    path = tmp_path / "README.md"

    now = fix_card(path, draft.subject(), RULES)

    assert lint(now) == ()
    assert front(path.read_text()) == front(good)
    assert path.read_text().split("---\n")[2:] == good.split("---\n")[2:]


def test_fix_of_a_card_without_front_matter_makes_one(draft, tmp_path):
    draft.text = "# Model\n\nIt derives from SDXL, CreativeML Open RAIL++-M.\n"
    path = tmp_path / "README.md"

    fix_card(path, draft.subject(), RULES)

    text = path.read_text()
    assert front(text) == {
        "license": "other",
        "license_name": "faipl-1.0-sd",
        "license_link": "LICENSE",
        "pipeline_tag": "text-to-image",
    }
    assert text.endswith("---\n\n" + draft.text)


def test_every_rule_that_says_it_fixes_is_tested():
    assert {rule for rule, _, _ in FIXABLE} == {r.id for r in RULES if r.fixes}


def test_only_chosen_rules_are_put_right(draft, tmp_path):
    draft.put("diffusion-single-file", "diffusers")
    draft.put("base_model_relation: merge\n", "")
    chosen = [rule for rule in RULES if rule.id == "KR206"]

    now = fix_card(tmp_path / "README.md", draft.subject(), chosen)

    assert [finding.rule.id for finding in lint(now)] == ["KR303"]


def test_good_card_is_not_written(draft, tmp_path):
    fix_card(tmp_path / "README.md", draft.subject(), RULES)

    assert list(tmp_path.iterdir()) == []


def test_comments_and_order_of_the_front_matter_stay(draft):
    draft.put("library_name: diffusion-single-file", "# why\nlibrary_name: diffusers")

    after = fixed_text(draft.text, draft.findings())

    assert after == draft.text.replace("diffusers", "diffusion-single-file")


def test_card_that_cannot_be_written_is_as_it_was(draft, tmp_path):
    draft.put("diffusion-single-file", "diffusers")

    with pytest.raises(OutputError):
        fix_card(tmp_path / "nowhere" / "README.md", draft.subject(), RULES)


def test_card_of_a_built_release_is_not_touched(krelease, release_folder: Path):
    before = (release_folder / "README.md").read_bytes()

    assert krelease("lint", release_folder, "--fix")[0] == 0
    assert (release_folder / "README.md").read_bytes() == before


def test_card_of_a_built_release_that_would_change_is_refused(
    draft, release_folder, tmp_path
):
    draft.put("diffusion-single-file", "diffusers")
    manifest = read_manifest(release_folder / "manifest.json")
    subject = replace(draft.subject(), manifest=manifest)

    with pytest.raises(UsageError) as refused:
        fix_card(tmp_path / "README.md", subject, RULES)

    assert refused.value.code == "built-card"
    assert list(tmp_path.iterdir()) == []


def test_of_two_edits_of_one_line_only_one_is_made(draft):
    draft.put("diffusion-single-file", "diffusers")
    (finding,) = draft.findings()
    edits = [Edit(2, 2, ("a: 1", "b: 2")), Edit(2, 2, ("c: 3",))]
    both = [replace(finding, edit=edit) for edit in edits]

    lines = fixed_text("---\nold: 0\n---\n", both).split("\n")

    assert lines == ["---", "a: 1", "b: 2", "---", ""]


@pytest.mark.parametrize(
    "front",
    [
        "{license: mit, base_model: [a/b, c/d], pipeline_tag: text-to-image}",
        "license: >-\n  MIT\nbase_model: a/b\n",
        "base_model: [a/b,\n  c/d]\nlicense: mit\n",
    ],
)
def test_what_a_line_cannot_say_stays_as_it_is(draft, tmp_path, front):
    draft.text = f"---\n{front}\n---\n# Title\n"
    path = tmp_path / "README.md"
    path.write_text(draft.text)
    before = yaml.safe_load(front)

    fix_card(path, draft.subject(), RULES)

    after = yaml.safe_load(path.read_text().split("---\n")[1])
    assert {name: after[name] for name in before} == before


def test_line_ends_and_mark_of_the_file_stay(draft, tmp_path):
    path = tmp_path / "README.md"
    draft.text = draft.text.replace("pipeline_tag: text-to-image\n", "")
    old = b"\xef\xbb\xbf" + draft.text.replace("\n", "\r\n").encode()
    path.write_bytes(old)

    fix_card(path, draft.subject(), RULES)

    new = path.read_bytes()
    assert b"pipeline_tag: text-to-image\r\n" in new
    assert new.startswith(b"\xef\xbb\xbf---\r\n")
    assert new.count(b"\n") == new.count(b"\r\n")
