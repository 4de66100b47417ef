"""Rules on what a body adds to its licence, or leaves out: KR107 and KR108."""

import re
from collections.abc import Iterator
from typing import Final

from release.errors import visible
from release.licences.known import find_licence
from release.lint.card import Line
from release.lint.rule import Problem
from release.lint.subject import Subject

_FORBIDDEN: Final = r"(?:prohibited|forbidden|not (?:allowed|permitted)|disallowed)"
_RESTRICTIONS: Final = re.compile(
    r"(?i)"
    r"\b(?:prohibit|forbid|disallow)(?:s|ed)? (?:any |all )?(?:forms? of )?"
    r"(?:commerciali[sz]ation|commercial|redistribut\w+|merg(?:e|es|ing)\b|re-?uploads?)"
    r"|\bcommercial(?:i[sz]ation)?(?: use| usage| purposes?)?[^.|]{0,40}? "
    + _FORBIDDEN
    + r"|\b(?:redistribut\w+|re-?upload\w*|merg(?:es|ing)|derivatives?)\b[^.|]{0,60}? "
    r"(?:(?:is|are) )?(?:strictly )?"
    + _FORBIDDEN
    + r"|\bno commercial(?: use| usage| purposes?)?\b|\bno (?:merges|merging)\b"
    r"|\bnon-?commercial (?:use|purposes?|usage)(?: only)?\b|\bfor non-?commercial\b"
    r"|\b(?:do not|don't|must not|may not|cannot) (?:be )?"
    r"(?:sell|sold|merged?|redistributed?|re-?upload(?:ed)?)\b"
    r"|\bexclusive(?:ly)? (?:to|on|for) \w+"
)
_REVERSED: Final = re.compile(
    r"(?i)\b(?:without|no|not|never|nor|free of)\b[^.]{0,40}$"
)
_CHANGED: Final = re.compile(
    r"(?i)\b(?:merged?|merging|derived|derivative|modified|changed|fine-?tuned?|"
    r"finetuned?|trained (?:from|on top)|quanti[sz]ed|converted|based on)\b"
)
_RAIL: Final = re.compile(r"(?i)open\s?rail\+\+|openrail\+\+|rail\+\+-m")
_REHEARSAL: Final = "**This is a rehearsal.**"


def added_restriction(subject: Subject) -> Iterator[Problem]:
    """KR107: nothing is added to a licence that forbids to add to it."""
    licence = find_licence(subject.licence)
    if licence is None or "forbids-extra-restrictions" not in licence.flags:
        return
    for line in subject.card.prose:
        words = _restriction(line)
        if words:
            yield Problem(
                line.number,
                f"adds a restriction, which {licence.name} does not allow: "
                f"'{visible(words, 60)}'",
            )


def inherited(subject: Subject) -> Iterator[Problem]:
    """KR108: the licence of the base model goes along, and changes are said."""
    is_sdxl = "sdxl" in subject.architectures or (
        subject.manifest is not None and subject.manifest.architecture == "sdxl"
    )
    if not is_sdxl or not subject.licence or subject.licence == "openrail++":
        return
    text = subject.card.text
    if not _CHANGED.search(text):
        yield Problem(
            subject.licence_line,
            "SDXL's licence asks for a notice that its files were changed; none is "
            "there",
        )
    copies = [name for name in subject.files or () if _is_copy(name)]
    if not copies and not _RAIL.search(text):
        yield Problem(
            subject.licence_line,
            "SDXL's licence, CreativeML Open RAIL++-M, is not passed on: neither a "
            "file with its text is there, nor does the card name it",
        )


def _is_copy(name: str) -> bool:
    """Whether a file is a second licence text, by its name."""
    return re.fullmatch(r"(?i)licen[cs]e[-_.](?!md$|txt$).+", name) is not None


def _restriction(line: Line) -> str:
    """Return the words of a line that restrict what its readers may do, or ""."""
    plain = line.plain
    if _REHEARSAL in line.text:
        return ""
    for found in _RESTRICTIONS.finditer(plain):
        begins_with_no = found[0].lower().startswith(("no ", "do not", "don't"))
        if begins_with_no or not _REVERSED.search(plain[: found.start()]):
            return found[0]
    return ""
