"""Putting a card right: edits of lines, made again until none is left."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from release.errors import UsageError, visible
from release.formats.output import write_text_file
from release.lint.card import parse_card
from release.lint.rule import Edit, Rule
from release.lint.run import Finding, lint
from release.lint.subject import Subject

_ROUNDS_MAX: Final = 10


def fixed_text(text: str, findings: Iterable[Finding]) -> str:
    r"""Return a card's text with the edits of findings made.

    Of edits that concern the same lines the first is made.

    Args:
        text: The card, with `\n` at the ends of lines.
        findings: From linting this very text.
    """
    lines = text.split("\n")
    edits = {each.edit for each in findings if each.edit is not None}
    taken: set[int] = set()
    chosen: list[Edit] = []
    for edit in sorted(edits, key=lambda e: (e.first, e.last, e.lines)):
        touched = set(range(edit.first, max(edit.first, edit.last) + 1))
        if not touched & taken:
            taken |= touched
            chosen.append(edit)
    for edit in reversed(chosen):
        lines[edit.first - 1 : edit.last] = edit.lines
    return "\n".join(lines)


def fix_card(path: Path, subject: Subject, rules: Sequence[Rule]) -> Subject:
    """Write a card with everything put right that rules can; return what is linted now.

    Args:
        path: The card, as it was read into `subject`.
        subject: What is linted.
        rules: Whose edits are made.

    Raises:
        UsageError: Code "built-card": the manifest beside it holds the card's digest.
        WriteError: The system refused; the card is as it was.
    """
    now = subject
    for _ in range(_ROUNDS_MAX):
        text = fixed_text(now.card.text, lint(now, rules))
        if text == now.card.text:
            break
        now = replace(now, card=parse_card(text.encode()))
    if now.card.text == subject.card.text:
        return subject
    if subject.manifest is not None:
        raise UsageError(
            f"{visible(path, 1024)}: is part of a built release, whose manifest holds "
            "its digest",
            code="built-card",
            hint="change the definition and build the release again",
        )
    write_text_file(path, now.card.text, overwrite=True)
    return now
