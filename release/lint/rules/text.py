"""Rules on the card as a text: KR001, KR002, KR406."""

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from release.errors import visible
from release.lint.rule import WARNING, Problem
from release.lint.subject import Subject

_PLACEHOLDER: Final = re.compile(
    r"(?i:\[?more information needed\]?|lorem ipsum"
    r"|\[(?:insert|your|add) [^\]]{1,60}\])|\b(?:TODO|TBD|FIXME|XXX)\b"
)
_TEMPLATE: Final = re.compile(r"\{\{.{0,200}?\}\}|\{%.{0,200}?%\}")
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_ALLOWED: Final = frozenset("\t\r\u200d\ufe0f")
"""Tabs, stray line ends, and what joins parts of one emoji."""
_HARMLESS: Final = frozenset("\u00ad\u200b\u200c\u200e\u200f\u2060\ufeff")
"""Unseen, but without power over what stands beside them for long."""
_FINDINGS_MAX: Final = 20
_CODE_SPAN: Final = re.compile(r"`[^`]*`")


def readable(subject: Subject) -> Iterator[Problem]:
    """KR001: the card can be read, and its front matter is YAML."""
    for fault in subject.card.faults:
        yield Problem(fault.line, fault.text)


def hidden(subject: Subject) -> Iterator[Problem]:
    """KR002: no characters that hide or turn around what is written."""
    n_found = 0
    for number, line in enumerate(subject.card.all_lines, 1):
        if line.isascii() and line.isprintable():
            continue
        found = [c for c in line if _is_hidden(c)]
        if found:
            n_found += 1
            worst = next((c for c in found if c not in _HARMLESS), found[0])
            text = f"holds the hidden character {visible(worst)}"
            severity = WARNING if worst in _HARMLESS else None
            yield Problem(number, text, severity=severity)
        if n_found == _FINDINGS_MAX:
            return


def _is_hidden(char: str) -> bool:
    return unicodedata.category(char) in _HIDDEN and char not in _ALLOWED


def placeholder(subject: Subject) -> Iterator[Problem]:
    """KR406: nothing is left to fill in."""
    for line in subject.card.lines:
        text = line.text if line.is_code else _CODE_SPAN.sub("", line.text)
        found = _PLACEHOLDER.search(text)
        if found is None and not line.is_code:
            found = _TEMPLATE.search(text)
        if found:
            yield Problem(line.number, f"left to fill in: {visible(found[0], 60)}")
