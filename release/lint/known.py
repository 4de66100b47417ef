"""What a card, a header and the maker say of a release, brought together."""

import re
from collections.abc import Iterable
from typing import Any, Final

from release.catalog.outline import LIST_LENGTH_MAX, Known, Outline, plain_line
from release.definition import HUB_ID
from release.errors import UsageError, visible
from release.licences.known import find_licence, licences
from release.lint.card import Card
from release.lint.subject import stated_licence
from release.recipe.names import suggestion

_AUDIENCE_TAG: Final = "not-for-all-audiences"


def known_of_card(card: Card) -> Known:
    """Return what a card says; what is of a wrong form or too long is passed over."""
    example = _first_widget(card)
    parameters = example.get("parameters")
    negative = parameters.get("negative_prompt") if isinstance(parameters, dict) else ""
    tags = _lines(card.texts("tags"))
    datasets = _lines(card.texts("datasets"))
    title = card.title
    return Known(
        title=plain_line(title.plain.lstrip("# ")) if title else "",
        licence=stated_licence(card),
        prompt=_line(example.get("text")),
        negative_prompt=_line(negative),
        language=_lines(card.texts("language")),
        datasets=tuple(each for each in datasets if re.fullmatch(HUB_ID, each)),
        tags=tuple(each for each in tags if each != _AUDIENCE_TAG),
        not_for_all_audiences=_AUDIENCE_TAG in tags,
    )


def known_of_header(outline: Outline) -> Known:
    """Return what the ModelSpec metadata of a checkpoint says."""
    return Known(
        title=outline.text("modelspec.title"),
        summary=outline.text("modelspec.description"),
        author=outline.text("modelspec.author"),
        licence=outline.text("modelspec.license"),
        repo=outline.place.hub,
    )


def brought_together(sources: Iterable[Known]) -> tuple[Known, tuple[str, ...]]:
    """Return what is known, the first source that says something wins, and notes.

    A licence that is not known is passed over, and a note says so.
    """
    notes: list[str] = []
    found: dict[str, Any] = {}
    for source in sources:
        for key in Known.__slots__:
            value = getattr(source, key)
            if key == "licence" and value:
                value = _licence_name(value, notes)
            found[key] = found.get(key) or value
    licence = find_licence(found["licence"] or "")
    found["licence_link"] = licence.link if licence else ""
    return Known(**found), tuple(notes)


def named_licence(text: str) -> str:
    """Return the canonical name of a licence that the maker names.

    Raises:
        UsageError: Code "licence-option": it is not known.
    """
    licence = find_licence(text)
    if licence is not None:
        return licence.name
    raise UsageError(
        f"--licence {visible(text)}: is not known",
        code="licence-option",
        hint=suggestion(text, licences()),
    )


def _licence_name(text: str, notes: list[str]) -> str:
    licence = find_licence(text)
    if licence is not None:
        return licence.name
    notes.append(f"the licence '{visible(text, 80)}' is not known, and not taken over")
    return ""


def _first_widget(card: Card) -> dict[str, Any]:
    widgets = card.fields.get("widget")
    first = widgets[0] if isinstance(widgets, list) and widgets else {}
    return first if isinstance(first, dict) else {}


def _line(value: object) -> str:
    return plain_line(value) if isinstance(value, str) else ""


def _lines(values: list[str]) -> tuple[str, ...]:
    shown = [plain_line(each) for each in values[:LIST_LENGTH_MAX]]
    return tuple(dict.fromkeys(each for each in shown if each))
