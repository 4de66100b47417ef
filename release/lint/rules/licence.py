"""Rules on the licence that a card states: KR101 to KR106, KR109."""

import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Final

from release.errors import visible
from release.licences.combine import Part, combine
from release.licences.known import (
    canonical_licence,
    find_licence,
    licence_of_text,
    spellings,
)
from release.licences.release import base_part, licence_parts
from release.lint.rule import ERROR, Edit, Problem
from release.lint.subject import FileFacts, Subject
from release.metadata import LICENCE_NAME, LICENCE_NAMES

_OTHER: Final = "other"
_NONE_SAID: Final = frozenset({"unknown", ""})
_SAID: Final = re.compile(
    r"(?i)\b(?:licen[cs]ed|released|distributed|available|published)\s+under\s+"
    r"(?:the\s+)?(?:terms\s+of\s+)?(?:the\s+)?"
    r"|\blicen[cs]e\s*[|:]\s*(?:the\s+)?"
    r"|\b(?:the|this|our|model|model's)\s+licen[cs]e\s+is\s+(?:the\s+)?"
)
_OF_ANOTHER: Final = re.compile(
    r"(?i)\b(?:sdxl|stable diffusion|base models?|derived|based on|ingredients?|"
    r"data ?sets?|code|inherited|whose)\b[^.]{0,80}$"
)
"""What makes the licence named after it that of something else."""


def missing(subject: Subject) -> Iterator[Problem]:
    """KR101: there is a licence, where the Hub looks for it."""
    stated = subject.card.fields.get("license")
    if isinstance(stated, str) and stated not in _NONE_SAID:
        return
    text = "license: is missing" if stated is None else "license: says nothing"
    found = _licence_of_file(subject)
    if not found:
        yield Problem(1, f"{text}; name the licence of the model")
        return
    name, file = found
    edit = _put(subject, _fields_of(name, file)) if stated is None else None
    yield Problem(1, f"{text}, although {file} holds the text of {name}", edit=edit)


def other_without_name(subject: Subject) -> Iterator[Problem]:
    """KR102: a licence that the Hub does not know has a name and a link."""
    fields = subject.card.fields
    if fields.get("license") != _OTHER:
        return
    lacking = [key for key in ("license_name", "license_link") if not fields.get(key)]
    if not lacking:
        return
    line = subject.card.front.line_of("license")
    name = fields.get("license_name") or (_licence_of_file(subject) or ("",))[0]
    known = find_licence(name) if isinstance(name, str) else None
    values = {
        "license_name": known.name if known else "",
        "license_link": _link(subject, known.link) if known else "",
    }
    lines = tuple(f"{key}: {values[key]}" for key in lacking if values[key])
    yield Problem(
        line,
        f"license: other needs {' and '.join(lacking)}",
        edit=Edit(line + 1, line, lines) if len(lines) == len(lacking) else None,
    )


def name(subject: Subject) -> Iterator[Problem]:
    """KR103: the licence has its canonical name, or the Hub's id."""
    named = subject.card.fields.get("license_name")
    if isinstance(named, str) and canonical_licence(named) != named:
        line, right = (
            subject.card.front.line_of("license_name"),
            canonical_licence(named),
        )
        yield Problem(
            line,
            f"license_name: {visible(named)} is an alias, expected {right}",
            edit=Edit(line, line, (f"license_name: {right}",)),
        )
    stated = subject.card.fields.get("license")
    if isinstance(stated, str) and stated not in {*_hub_ids(), *_NONE_SAID}:
        yield _wrong_id(subject, stated)


def _wrong_id(subject: Subject, stated: str) -> Problem:
    line, known = subject.card.front.line_of("license"), find_licence(stated)
    right = stated.lower() if stated.lower() in _hub_ids() else ""
    right = known.hub_id if known else right
    if right:
        text = f"license: {visible(stated)} is an alias, expected {right}"
        return Problem(line, text, edit=Edit(line, line, (f"license: {right}",)))
    text = f"license: {visible(stated)} is no id of the Hub's list, expected"
    if known is None:
        text = f"{text} one, or other with license_name"
        return Problem(line, text, severity=ERROR)
    lines = _fields_of(known.name, _link(subject, known.link))
    is_free = not {"license_name", "license_link"} & subject.card.fields.keys()
    return Problem(
        line,
        f"{text} other with license_name: {known.name}",
        edit=Edit(line, line, lines) if is_free else None,
        severity=ERROR,
    )


def licence_file(subject: Subject) -> Iterator[Problem]:
    """KR104: a file holds the text of the licence, word for word; so does each zip."""
    licence = find_licence(subject.licence)
    if subject.files is None or licence is None:
        return
    line = subject.licence_line
    if subject.licence_file is not None:
        file, text = subject.licence_file
        found = licence_of_text(text)
        if found and found != licence.name:
            yield Problem(line, f"{file} holds the text of {found}, not {licence.name}")
        elif not found and licence.text:
            said = f"{file} does not hold the known text of {licence.name}"
            yield Problem(line, said)
    if "requires-text" not in licence.flags or licence.hub_id:
        return
    if subject.licence_file is None:
        yield Problem(line, f"{licence.name}: no file {LICENCE_NAME} with its text")
    for each in subject.files.values():
        if _lacks_licence(each):
            said = f"holds weights, but no {LICENCE_NAME}: {licence.name} asks for it"
            yield Problem(0, said, file=each.name)


def _lacks_licence(file: FileFacts) -> bool:
    """Whether a file is a zip with weights in it and no licence."""
    names = [member.rpartition("/")[2] for member in file.members]
    has_weights = any(FileFacts(name, 0).is_weights for name in names)
    return has_weights and not set(LICENCE_NAMES) & set(names)


def contradiction(subject: Subject) -> Iterator[Problem]:
    """KR105: the body names no other licence than the front matter."""
    if not subject.licence:
        return
    for line in subject.card.prose:
        plain = line.plain
        for said in _SAID.finditer(plain):
            found = _named_at(plain[said.end() : said.end() + 80])
            is_own = not _OF_ANOTHER.search(plain[: said.start()])
            if found and is_own and found != subject.licence:
                yield Problem(
                    line.number,
                    f"says {found}, the front matter says {visible(subject.licence)}",
                )
                break


def forbidden(subject: Subject) -> Iterator[Problem]:
    """KR106: the licences of the ingredients allow this one."""
    parts = _parts(subject)
    if not parts or not subject.licence:
        return
    problem = combine(parts, subject.licence).problem
    if problem is not None and problem.code != "licence-not-known":
        yield Problem(subject.licence_line, str(problem))


def header(subject: Subject) -> Iterator[Problem]:
    """KR109: the headers of the files state the licence that the card states."""
    for file in subject.weights.values():
        stated = file.weights.metadata.get("modelspec.license") if file.weights else ""
        known = find_licence(stated) if stated else None
        found = known.name if known else licence_of_text((stated or "").encode())
        if found and subject.licence and found != subject.licence:
            yield Problem(
                0,
                f"modelspec.license says {found}, the card says "
                f"{visible(subject.licence)}",
                file=file.name,
            )


@cache
def _hub_ids() -> frozenset[str]:
    """Return the ids that the Hub knows.

    Source:
        huggingface/hub-docs, "Licenses".
    """
    text = (resources.files("release.lint") / "hub_licences.txt").read_text("utf-8")
    return frozenset(text.split())


def _licence_of_file(subject: Subject) -> tuple[str, str] | None:
    """Return the licence whose text is beside the card, and the file's name."""
    if subject.licence_file is None:
        return None
    file, text = subject.licence_file
    found = licence_of_text(text)
    return (found, file) if found else None


def _fields_of(licence: str, link: str) -> tuple[str, ...]:
    known = find_licence(licence)
    if known is not None and known.hub_id:
        return (f"license: {known.hub_id}",)
    return ("license: other", f"license_name: {licence}", f"license_link: {link}")


def _link(subject: Subject, otherwise: str) -> str:
    return subject.licence_file[0] if subject.licence_file else otherwise


def _put(subject: Subject, lines: tuple[str, ...]) -> Edit:
    """Return the edit that adds fields, and a front matter where there is none."""
    if subject.card.front.end:
        return Edit(2, 1, lines)
    return Edit(1, 0, ("---", *lines, "---", ""))


def _named_at(text: str) -> str:
    """Return the canonical licence that a text begins with, "" for none."""
    lower = re.sub(r"^[\s\"'(\[]+", "", text.lower())
    fitting = [
        spelling
        for spelling in spellings()
        if re.match(rf"{re.escape(spelling)}(?![\w+]|-\w|\.\d)", lower)
    ]
    longest = max(fitting, key=len, default="")
    return canonical_licence(longest) if longest else ""


def _parts(subject: Subject) -> tuple[Part, ...]:
    """Return what the model is made of: by its definition, manifest, or base models."""
    if subject.definition is not None:
        return licence_parts(subject.definition)
    if subject.manifest is None:
        return subject.bases
    base = base_part(subject.manifest.architecture)
    ingredients = [
        Part(
            record.name,
            record.title,
            record.licence or "",
            source="manifest.json",
            reason=record.licence_reason or "",
        )
        for record in subject.manifest.ingredients
    ]
    return (*([base] if base else []), *ingredients)
