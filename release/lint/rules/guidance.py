"""Rules on how images are made: KR401 to KR405."""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from release.errors import visible
from release.lint.guidance import Guidance, Prompt, Span, guidance_of
from release.lint.rule import Problem
from release.lint.subject import Subject

_SIZE: Final = re.compile(r"(?<![\w.])(\d{3,4}) ?[x×] ?(\d{3,4})(?![\w.]*\w)")  # noqa: RUF001
_OTHER_SIZE: Final = re.compile(
    r"(?i)\b(?:train|upscal|hires|bucket|dataset|data set|resiz|thumbnail|px wide)"
)
_STEP: Final = 64
_AUDIENCE_TAG: Final = "not-for-all-audiences"
_EXPLICIT: Final = re.compile(r"(?i)\b(?:nsfw|explicit|hentai|porn\w*|r-?18)\b")
_RATING: Final = re.compile(r"(?i)\b(?:rating|nsfw|sfw|safe)\b")
_LEANING: Final = frozenset({"masterpiece", "best quality"})

_COMMON: Final = (
    "masterpiece", "best quality", "great quality", "good quality", "high quality",
    "medium quality", "normal quality", "low quality", "worst quality", "newest",
    "recent", "late", "mid", "early", "oldest", "absurdres", "highres", "lowres",
    "very aesthetic", "displeasing", "very displeasing", "sensitive", "questionable",
    "explicit",
)  # fmt: skip
"""Words about quality, year, rating and size that anime models are trained with."""
_NEVER: Final = frozenset({
    "high quality", "medium quality", "great quality", "good quality", "late", "oldest",
    "very aesthetic", "displeasing", "very displeasing", "recent",
})  # fmt: skip
"""Those of them that one vocabulary has and another has not."""
_NEAR: Final = 0.86
_TAG_LENGTH_MIN: Final = 6
_TAG_LENGTH_MAX: Final = 40
_TAGS_MAX: Final = 400


def sizes(subject: Subject) -> Iterator[Problem]:
    """KR401: image sizes are multiples of 64 in the recommended range."""
    known = guidance_of(subject.card)
    if known.pixels is None:
        return
    for line in subject.card.prose:
        if _OTHER_SIZE.search(line.plain):
            continue
        for width, height in _SIZE.findall(line.plain):
            reason = _wrong_size(int(width), int(height), known.pixels)
            if reason:
                yield Problem(line.number, f"size {width}x{height} {reason}")
    for prompt in known.prompts:
        width, height = (prompt.parameters.get(key) for key in ("width", "height"))
        if isinstance(width, int) and isinstance(height, int):
            reason = _wrong_size(width, height, known.pixels)
            if reason:
                yield Problem(prompt.line, f"size {width}x{height} {reason}")


def _wrong_size(width: int, height: int, pixels: Span) -> str:
    low, high = pixels
    if not low <= width * height <= high:
        return (
            f"has {width * height:,} pixels, recommended are {low:,.0f} to {high:,.0f}"
        )
    if width % _STEP or height % _STEP:
        return f"is no multiple of {_STEP}"
    return ""


def settings(subject: Subject) -> Iterator[Problem]:
    """KR402: examples keep to the recommended settings."""
    known = guidance_of(subject.card)
    for prompt in known.prompts:
        for key, span, name in (
            ("guidance_scale", known.cfg, "CFG"),
            ("num_inference_steps", known.steps, "steps"),
        ):
            value = prompt.parameters.get(key)
            if span and _is_outside(value, span):
                low, high = span
                text = f"{key} {value}: the card recommends {name} {low:g} to {high:g}"
                yield Problem(prompt.line, text)


def _is_outside(value: Any, span: Span) -> bool:  # YAML is any
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return not span[0] <= value <= span[1]


def tags(subject: Subject) -> Iterator[Problem]:
    """KR403: tags of prompts are spelled as the model was trained to read them.

    Where two vocabularies of a card spell a tag differently, both are right, and the
    first is advised.
    """
    known = guidance_of(subject.card)
    declared = frozenset(known.tags)
    words = {tag.casefold(): tag for tag in reversed(known.tags)}
    for prompt in known.prompts:
        for tag in prompt.tags[:_TAGS_MAX]:
            reason = "" if tag in declared else _wrong_tag(tag, words)
            if reason:
                yield Problem(prompt.line, f"tag {visible(tag)}: {reason}")


def _wrong_tag(tag: str, words: Mapping[str, str]) -> str:
    """Return what is wrong with a tag, given those declared, or ""."""
    folded = tag.casefold().replace("_", " ")
    if folded in words:
        right = words[folded]
        return "" if tag == right else f"expected {visible(right)}, as declared"
    if folded in _COMMON:
        is_foreign = words and folded in _NEVER
        return "is not in the vocabulary that the card declares" if is_foreign else ""
    if not _TAG_LENGTH_MIN <= len(tag) <= _TAG_LENGTH_MAX:
        return ""
    near = difflib.get_close_matches(folded, [*words, *_COMMON], n=1, cutoff=_NEAR)
    return f"did you mean {words.get(near[0], near[0])}?" if near else ""


def rating_note(subject: Subject) -> Iterator[Problem]:
    """KR404: quality tags that lean towards explicit images come with a note."""
    known = guidance_of(subject.card)
    leaning = next((p for p in known.prompts if _leans(p)), None)
    if leaning is None or _has_rating(known, subject):
        return
    text = "masterpiece and best quality lean to explicit images; say how to rate them"
    yield Problem(leaning.line, text)


def _leans(prompt: Prompt) -> bool:
    return bool(_LEANING & {tag.casefold() for tag in prompt.tags})


def _has_rating(known: Guidance, subject: Subject) -> bool:
    texts = [prompt.text for prompt in known.prompts]
    texts += [line.plain for line in subject.card.lines]
    return any(_RATING.search(text) for text in texts)


def audience(subject: Subject) -> Iterator[Problem]:
    """KR405: a card that speaks of explicit images says for whom it is."""
    card = subject.card
    if _AUDIENCE_TAG in card.texts("tags"):
        return
    first = next((line for line in card.lines if _EXPLICIT.search(line.plain)), None)
    if first is None or any("audience" in x.plain.lower() for x in card.lines):
        return
    text = f"explicit images: neither the tag {_AUDIENCE_TAG} nor a word on audiences"
    yield Problem(first.number, text)
