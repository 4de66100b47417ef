"""Rules on how the card fits what is around it: KR003, KR206, KR207, KR210, KR305."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from release.catalog.find import find_definition
from release.catalog.texts import catalog_names
from release.definition import KnownBadFile
from release.errors import visible
from release.lint.card import links
from release.lint.rule import ERROR, Edit, Problem
from release.lint.subject import FileFacts, Subject

_SINGLE_FILE: Final = "diffusion-single-file"
_BAD_WORD: Final = re.compile(
    r"(?i)(?<![a-z])(?:bugged|broken|corrupt(?:ed)?|faulty)(?![a-z])"
)
_FULL: Final = re.compile(
    r"(?i)full[- ]precision|(?<![a-z0-9])(?:fp16|fp32|bf16|original)(?![a-z0-9])"
)


def library(subject: Subject) -> Iterator[Problem]:
    """KR206: `library_name: diffusers` only for what diffusers can load."""
    if subject.card.fields.get("library_name") != "diffusers":
        return
    if subject.files is None or "model_index.json" in subject.files:
        return
    line = subject.card.front.line_of("library_name")
    yield Problem(
        line,
        "library_name: diffusers, but there is no model_index.json, so the Hub shows "
        f"code that fails; expected {_SINGLE_FILE}",
        edit=Edit(line, line, (f"library_name: {_SINGLE_FILE}",)),
    )


def reduced(subject: Subject) -> Iterator[Problem]:
    """KR207: what is only there in fp8 leads to the full-precision weights."""
    known = [file for file in subject.weights.values() if file.weights]
    if not known or not all(_is_reduced(file) for file in known):
        return
    card = subject.card
    has_base = bool(card.texts("base_model"))
    relation = card.fields.get("base_model_relation")
    if has_base and relation == "quantized":
        return
    if any(_FULL.search(line.plain) and links(line.text) for line in card.prose):
        return
    text = "all files are fp8, and nothing leads to the full-precision weights"
    yield Problem(card.title.number if card.title else 1, text)


def _is_reduced(file: FileFacts) -> bool:
    codes = file.weights.dtypes if file.weights else {}
    return any(code.startswith("F8_") for code in codes)


def known_bad(subject: Subject) -> Iterator[Problem]:
    """KR210: a file that is known to be bad is called so."""
    for name, file in sorted(subject.weights.items()):
        bad = _bad_entry(subject, file)
        word = _BAD_WORD.search(name.replace("_", "-"))
        if bad is None and word is None:
            continue
        if any(_warns(line.plain, name) for line in subject.card.lines):
            continue
        reason = visible(bad.reason) if bad else f"its name says {word[0]}"  # type: ignore[index]
        yield Problem(
            0, f"is known to be bad ({reason}); the card does not say it", file=name
        )


def _warns(text: str, name: str) -> bool:
    """Whether a line names a file and says something about it."""
    return name in text and len(text.replace(name, "").strip("|`-* .")) > 20


def _bad_entry(subject: Subject, file: FileFacts) -> KnownBadFile | None:
    stated = subject.definition.known_bad if subject.definition else ()
    for bad in (*stated, *_catalog_bad()):
        if file.sha256 and bad.sha256 == file.sha256:
            return bad
        if bad.file == file.name.rpartition("/")[2]:
            return bad
    return None


@cache
def _catalog_bad() -> tuple[KnownBadFile, ...]:
    """Return the bad files that the catalog knows of."""
    nowhere = Path("/nonexistent")
    found = [find_definition(name, nowhere)[0] for name in catalog_names()]
    return tuple(bad for definition in found for bad in definition.known_bad)


def hub_says(subject: Subject) -> Iterator[Problem]:
    """KR003: the Hub's own check of the front matter, which is beside ours."""
    for remark in subject.remarks:
        severity = ERROR if remark.is_error else None
        yield Problem(1, f"Hub says: {visible(remark.text)}", severity=severity)


def widget_output(subject: Subject) -> Iterator[Problem]:
    """KR305: the pictures that the card shows are there."""
    if subject.files is None:
        return
    widget = subject.card.fields.get("widget")
    for at, entry in enumerate(widget if isinstance(widget, list) else ()):
        url = _output_url(entry)
        if url and "://" not in url and url.removeprefix("./") not in subject.files:
            line = subject.card.front.line_of("widget", at, "output", "url")
            yield Problem(line, f"widget output {visible(url)} is not among the files")


def _output_url(entry: Any) -> str:  # YAML is any
    output = entry.get("output") if isinstance(entry, Mapping) else None
    url = output.get("url") if isinstance(output, Mapping) else None
    return url if isinstance(url, str) else ""
