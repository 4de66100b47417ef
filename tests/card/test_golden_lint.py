"""Our own cards break none of our own rules."""

from pathlib import Path

import pytest

from release.card.presentation import presentation_of
from release.card.render import render_hub_pages
from release.definition import Definition
from release.licences.known import licence_text
from release.lint.card import parse_card
from release.lint.run import lint
from release.lint.subject import FileFacts, Subject
from release.manifest import Manifest

HERE = Path(__file__).parent


def subject(definition: Definition, manifest: Manifest) -> Subject:
    """Return the card as it is linted before a publish, with the files it names."""
    shown = presentation_of(definition, HERE)
    pages = render_hub_pages(definition, manifest, presentation=shown)
    records = [*manifest.checkpoints, *manifest.files]
    files = {record.name: _facts(record) for record in records}
    files |= {name: FileFacts(name, len(text)) for name, text in pages.items()}
    return Subject(
        parse_card(pages["README.md"].encode()),
        files=files,
        licence_file=("LICENSE", licence_text("faipl-1.0-sd")),
        manifest=manifest,
        definition=definition,
    )


def _facts(record: object) -> FileFacts:
    return FileFacts(
        record.name,  # type: ignore[attr-defined]
        record.nbytes,  # type: ignore[attr-defined]
        sha256=record.sha256,  # type: ignore[attr-defined]
        data_sha256=getattr(record, "data_sha256", None),
    )


def test_lint_finds_nothing_in_the_card_of_rev2(
    definition: Definition, manifest: Manifest
) -> None:
    assert [str(each) for each in lint(subject(definition, manifest))] == []


def test_lint_finds_nothing_in_the_card_of_rev1(
    rev1: tuple[Definition, Manifest],
) -> None:
    assert [str(each) for each in lint(subject(*rev1))] == []


@pytest.mark.parametrize(
    ("true", "false", "rule"),
    [("6.94 GB", "5.94 GB", "KR202"), ("38942904E9", "38942904EA", "KR204")],
)
def test_lint_would_find_a_wrong_number_in_it(
    definition: Definition, manifest: Manifest, true: str, false: str, rule: str
) -> None:
    right = subject(definition, manifest)
    wrong = parse_card(right.card.text.replace(true, false).encode())

    found = lint(Subject(wrong, files=right.files, licence_file=right.licence_file))

    assert rule in {each.rule.id for each in found}
