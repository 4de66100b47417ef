"""Putting a card right: edits of lines, made again until none is left."""

import codecs
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from release.errors import UsageError, visible
from release.formats.output import write_text_file
from release.lint.card import Card, parse_card
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
        edited = [*lines[: edit.first - 1], *edit.lines, *lines[edit.last :]]
        if _does_only_that(edit, lines, edited):
            lines = edited
    return "\n".join(lines)


def _does_only_that(edit: Edit, before: list[str], after: list[str]) -> bool:
    """Whether an edit left the card readable, and changed no field but its own.

    A value may go over several lines, or lie in a list written on one: an edit of lines
    cannot know, so what it made is read again.
    """
    old, new = _card(before), _card(after)
    if len(new.faults) > len(old.faults):
        return False
    gone, come = old.fields, new.fields
    changed = {name for name in gone | come if gone.get(name) != come.get(name)}
    if any(line.startswith(" ") for line in edit.lines):
        return len(changed) <= 1  # a key inside of one field
    replaced = _fields(before[edit.first - 1 : edit.last])
    stated = come if edit.lines[:1] == ("---",) else _fields(edit.lines)
    values = [gone[name] for name in changed & replaced.keys()]
    return all(
        (come[name] == stated[name] or (stated[name] is None and come[name] in values))
        if name in come and name in stated
        else name not in come and name in replaced
        for name in changed
    )


def _card(lines: Sequence[str]) -> Card:
    return parse_card("\n".join(lines).encode())


def _fields(lines: Sequence[str]) -> dict[str, Any]:
    return _card(["---", *lines, "---", ""]).fields


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
    write_text_file(path, _as_it_was(path, now.card.text), overwrite=True)
    return now


def _as_it_was(path: Path, text: str) -> str:
    """Return a text with the line ends, and the mark at the front, of the old file."""
    old = path.read_bytes() if path.is_file() else b""
    if 2 * old.count(b"\r\n") > old.count(b"\n"):
        text = text.replace("\n", "\r\n")
    mark = codecs.BOM_UTF8.decode()
    return mark + text if old.startswith(codecs.BOM_UTF8) else text
