"""Rules on the front matter: KR301 to KR304, KR306 to KR308."""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from release.errors import visible
from release.lint.card import links
from release.lint.front_matter import Key
from release.lint.rule import ERROR, WARNING, Edit, Problem
from release.lint.subject import Subject

_KEYS: Final = (
    "license", "license_name", "license_link", "license_details", "language",
    "library_name", "pipeline_tag", "tags", "base_model", "base_model_relation",
    "new_version", "datasets", "metrics", "widget", "inference", "instance_prompt",
    "thumbnail", "model-index", "model_name", "eval_results", "co2_eq_emissions",
    "extra_gated_prompt", "extra_gated_fields", "extra_gated_heading",
    "extra_gated_description", "extra_gated_button_content",
    "extra_gated_eu_disallowed",
)  # fmt: skip
_WIDGET_KEYS: Final = ("text", "example_title", "group", "parameters", "output", "src")
_PARAMETER_KEYS: Final = (
    "negative_prompt", "guidance_scale", "num_inference_steps", "width", "height",
    "seed", "scheduler",
)  # fmt: skip
_NEAR: Final = 0.84
_HUB_ID: Final = re.compile(
    r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII
)
_ONE_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_SUCCESSOR: Final = re.compile(
    r"(?i)\b(?:newer version|new version|superseded by|successor|deprecated|"
    r"use .{0,40} instead|please use the new)\b"
)
_TEXT_TO_IMAGE: Final = "text-to-image"


def unknown_key(subject: Subject) -> Iterator[Problem]:
    """KR301: no key is almost one that the Hub knows."""
    for keys, path, found in _mappings(subject.card.fields):
        for key in found:
            near = _near(str(key), keys)
            if near and near not in found:
                yield _renamed(subject, (*path, key), near)


def _mappings(
    fields: Mapping[str, Any],
) -> Iterator[tuple[tuple[str, ...], Key, Mapping[str, Any]]]:
    """Yield each mapping whose keys are known: those keys, its place, itself."""
    yield _KEYS, (), fields
    widget = fields.get("widget")
    for at, entry in enumerate(widget if isinstance(widget, list) else ()):
        if isinstance(entry, Mapping):
            yield _WIDGET_KEYS, ("widget", at), entry
            parameters = entry.get("parameters")
            if isinstance(parameters, Mapping):
                yield _PARAMETER_KEYS, ("widget", at, "parameters"), parameters


def _near(key: str, known: tuple[str, ...]) -> str:
    if key in known or len(key) > 40:
        return ""
    folded = key.lower().replace("-", "_").replace("licence", "license")
    if folded in known:
        return folded
    return next(iter(difflib.get_close_matches(folded, known, n=1, cutoff=_NEAR)), "")


def _renamed(subject: Subject, key: Key, near: str) -> Problem:
    line = subject.card.front.line_of(*key)
    old = subject.card.all_lines[line - 1]
    pattern = re.compile(rf"^([ \t]*(?:- )?[ \t]*){re.escape(str(key[-1]))}(?=[ \t]*:)")
    new, count = pattern.subn(rf"\g<1>{near}", old)
    return Problem(
        line,
        f"{visible('.'.join(map(str, key)))} is ignored by the Hub, expected {near}",
        edit=Edit(line, line, (new,)) if count else None,
    )


def base_model(subject: Subject) -> Iterator[Problem]:
    """KR302: a model that is made of others names them."""
    if subject.card.fields.get("base_model"):
        return
    if subject.manifest is not None:
        ids = [record.hub for record in subject.manifest.ingredients if record.hub]
        if subject.definition is not None:
            sources = subject.definition.ingredients.values()
            ids = [source.hub for source in sources if source.hub]
        if ids:
            text = f"base_model is missing; the recipe has {', '.join(ids[:5])}"
            yield Problem(1, text, severity=ERROR)
        return
    tags = subject.card.texts("tags")
    if "merge" in tags:
        line = subject.card.front.line_of("tags", tags.index("merge"))
        yield Problem(line, "tagged as a merge, but base_model is missing")


def relation(subject: Subject) -> Iterator[Problem]:
    """KR303: how the model relates to its base models is said."""
    fields, front = subject.card.fields, subject.card.front
    models = subject.card.texts("base_model")
    stated = fields.get("base_model_relation")
    known = ("adapter", "merge", "quantized", "finetune")
    if stated is not None and stated not in known:
        line = front.line_of("base_model_relation")
        text = f"base_model_relation: {visible(stated)}, expected {', '.join(known)}"
        yield Problem(line, text, severity=ERROR)
    if not models or stated is not None:
        return
    line = front.line_of("base_model")
    edit = None
    if len(models) > 1:
        edit = Edit(line, line - 1, ("base_model_relation: merge",))
    text = "base_model_relation is missing; the Hub guesses it by an unpublished rule"
    yield Problem(line, text, edit=edit)


def pipeline_tag(subject: Subject) -> Iterator[Problem]:
    """KR304: the Hub is told what the model does."""
    if subject.card.fields.get("pipeline_tag"):
        return
    does_images = (
        _TEXT_TO_IMAGE in subject.card.texts("tags")
        or "stable-diffusion-xl" in subject.card.texts("tags")
        or bool(subject.architectures & {"sdxl", "sd1", "sd2"})
    )
    edit = None
    if does_images and subject.card.front.end:
        edit = Edit(2, 1, (f"pipeline_tag: {_TEXT_TO_IMAGE}",))
    text = "pipeline_tag is missing, so the Hub shows no widget and no filter finds it"
    yield Problem(1, text, edit=edit)


def ids(subject: Subject) -> Iterator[Problem]:
    """KR306: models and data sets are named by their ids, and the Hub has them.

    What it does not show may be private, so that is a warning.
    """
    front = subject.card.front
    for key, at, text in _named(subject):
        line = front.line_of(key, at)
        if not _is_id(key, text):
            said = f"{key}: {visible(text)} is no id, expected OWNER/NAME"
            severity = WARNING if key == "datasets" else None
            yield Problem(line, said, severity=severity)
        elif (key, text) in subject.absent_ids:
            said = f"{key}: {visible(text)} is not on the Hub, or private"
            yield Problem(line, said, severity=WARNING)


def named_ids(subject: Subject) -> Iterator[tuple[str, str]]:
    """Yield field and id of the models and data sets that a card names by ids."""
    for key, _, text in _named(subject):
        if _is_id(key, text):
            yield key, text


def _named(subject: Subject) -> Iterator[tuple[str, int, str]]:
    """Yield field, place in it and text of what should be ids."""
    for key in ("base_model", "new_version", "datasets"):
        value = subject.card.fields.get(key)
        values = value if isinstance(value, list) else [value]
        for at, each in enumerate(values):
            if each is not None:
                yield key, at, str(each)


def _is_id(key: str, text: str) -> bool:
    if _HUB_ID.fullmatch(text):
        return True
    return key != "new_version" and _ONE_NAME.fullmatch(text) is not None


def new_version(subject: Subject) -> Iterator[Problem]:
    """KR307: a card that speaks of its successor names it for the Hub."""
    if subject.card.fields.get("new_version"):
        return
    for line in subject.card.prose:
        to_hub = any("huggingface.co/" in target for target in links(line.text))
        if to_hub and _SUCCESSOR.search(line.plain):
            text = "speaks of a newer version; new_version: OWNER/NAME shows it on top"
            yield Problem(line.number, text)
            return


def duplicate_key(subject: Subject) -> Iterator[Problem]:
    """KR308: no key is there twice."""
    for key, line in subject.card.front.duplicates:
        name = visible(".".join(map(str, key)))
        yield Problem(line, f"{name} is there twice; programs take one of the two")
