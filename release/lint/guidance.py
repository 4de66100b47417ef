"""What a card recommends, read from its own words: ranges, tags, prompts."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from release.lint.card import Card

_TO: Final = r"\s*(?:to|-|–|~|\.{2,3}|and)\s*"  # noqa: RUF001  # people write en dashes
_NUMBER: Final = r"(\d{1,3}(?:\.\d{1,2})?)"
_RANGE: Final = re.compile(rf"(?<![\w.,]){_NUMBER}{_TO}{_NUMBER}(?![\w]|[.,]\d)")
_PIXELS: Final = re.compile(
    rf"(?<![\w.,])(\d{{6,8}}|\d{{1,3}}(?:,\d{{3}}){{1,2}}){_TO}"
    r"(\d{6,8}|\d{1,3}(?:,\d{3}){1,2})(?![\w]|[.,]\d)"
)
_CFG_WORD: Final = re.compile(r"(?i)\b(?:cfg|guidance)\b")
_STEPS_WORD: Final = re.compile(r"(?i)\b(?:sampling |inference )?steps\b")
_TRAINING: Final = re.compile(r"(?i)\btrain")
_TAG_SECTION: Final = re.compile(r"tag|rating|quality|year|aesthetic")
_TAG_HEAD: Final = re.compile(r"\btags?\b|modifiers?\b")
_PROMPT_SECTION: Final = re.compile(r"prompt|setting|usage|tag|parameter|recommend")
_CODE: Final = re.compile(r"[={}();]|^\s*(?:import|from|pip|git|krelease|\$|#)\b")
_PROMPT_LENGTH_MAX: Final = 4000

Span = tuple[float, float]
"""Smallest and largest value, both included."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt of the card: its line, its text, and the settings beside it."""

    line: int
    text: str
    parameters: Mapping[str, Any]

    @property
    def tags(self) -> list[str]:
        """Its tags, without weights and escapes."""
        parts = self.text[:_PROMPT_LENGTH_MAX].split(",")
        bare = (re.sub(r"\\(.)", r"\1", part).strip(" ()[]{}\t") for part in parts)
        return [re.sub(r":\d+(?:\.\d+)?$", "", tag).strip() for tag in bare if tag]


@dataclass(frozen=True, slots=True)
class Guidance:
    """What a card recommends; None and empty for what it does not say."""

    pixels: Span | None
    cfg: Span | None
    steps: Span | None
    tags: tuple[str, ...]
    prompts: tuple[Prompt, ...]


@lru_cache(maxsize=1)
def guidance_of(card: Card) -> Guidance:
    """Return what a card recommends; every rule on it asks the same."""
    return Guidance(
        pixels=_pixels(card),
        cfg=_range(card, _CFG_WORD),
        steps=_range(card, _STEPS_WORD),
        tags=tuple(dict.fromkeys(_tags(card))),
        prompts=(*_widget_prompts(card), *_block_prompts(card)),
    )


def _pixels(card: Card) -> Span | None:
    for line in card.prose:
        found = _PIXELS.search(line.plain)
        if found and "pixel" in line.plain.lower():
            low, high = (float(text.replace(",", "")) for text in found.groups())
            return (low, high) if 0 < low <= high else None
    return None


def _range(card: Card, word: re.Pattern[str]) -> Span | None:
    for line in card.prose:
        plain = line.plain
        at = word.search(plain)
        if at is None or _TRAINING.search(plain):
            continue
        found = _RANGE.search(plain, at.end(), at.end() + 60)
        if found:
            low, high = float(found[1]), float(found[2])
            return (low, high) if low <= high else None
    return None


def _tags(card: Card) -> Iterator[str]:
    for table in card.tables:
        if not any(_TAG_SECTION.search(part) for part in table.section):
            continue
        for at in table.columns(_TAG_HEAD):
            for _, cells in table.rows:
                if at < len(cells):
                    yield from (tag.strip() for tag in cells[at].split(",") if tag)


def _widget_prompts(card: Card) -> Iterator[Prompt]:
    widget = card.fields.get("widget")
    for at, entry in enumerate(widget if isinstance(widget, list) else ()):
        if not isinstance(entry, Mapping):
            continue
        given = entry.get("parameters")
        parameters = given if isinstance(given, Mapping) else {}
        text = entry.get("text")
        if isinstance(text, str):
            line = card.front.line_of("widget", at, "text")
            yield Prompt(line, text, parameters)
        negative = parameters.get("negative_prompt")
        if isinstance(negative, str):
            key = ("widget", at, "parameters", "negative_prompt")
            yield Prompt(card.front.line_of(*key), negative, {})


def _block_prompts(card: Card) -> Iterator[Prompt]:
    for line in card.lines:
        if not line.is_code or _CODE.search(line.text) or line.text.count(",") < 2:
            continue
        if any(_PROMPT_SECTION.search(part) for part in line.section):
            yield Prompt(line.number, line.text, {})
