"""Rules on digests and headers: KR204, KR205, KR208, KR209."""

import re
from collections.abc import Iterator
from typing import Final

from release.errors import visible
from release.lint.mentions import Mention, mentions
from release.lint.rule import WARNING, Problem
from release.lint.subject import FileFacts, Subject
from release.numeric.digest import autov2, autov3
from release.privacy import private_reason

EMPTY_SHA256: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""SHA-256 of nothing, which some programs wrote as the hash of every file."""
HASH_KEY: Final = "modelspec.hash_sha256"

_HEX: Final = re.compile(r"(?<![0-9a-zA-Z])(?:0x)?([0-9a-fA-F]{8,64})(?![0-9a-zA-Z])")
_KINDS: Final = (
    ("SHA-256", re.compile(r"sha-?256"), 64),
    ("AutoV2", re.compile(r"auto ?v2"), 10),
    ("AutoV3", re.compile(r"auto ?v3"), 12),
)
_TITLE_V: Final = re.compile(r"(?i)(?<![a-z])v[-_ ]?pred(?:iction)?(?![a-z])")
_TRAINING_KEYS: Final = ("ss_dataset_dirs", "ss_training_comment", "ss_tag_frequency")
_PERSONAL_PATH: Final = re.compile(
    r"(?<![\w:/.])(?:[A-Za-z]:\\{1,2}[\w.-]+\\|/(?:home|Users)/(?!USER|user|you|name)[\w.-]+/)"
)


def digest_claims(subject: Subject) -> Iterator[tuple[Mention, str, str]]:
    """Yield each place that states a digest of a file: kind and lower-case hex."""
    for mention in mentions(subject.card):
        lower = mention.text.lower()
        for kind, word, n_digits in _KINDS:
            text = mention.cell(word) if mention.cells else ""
            if not mention.cells and word.search(lower):
                text = lower[word.search(lower).end() :]  # type: ignore[union-attr]
            found = [x for x in _HEX.findall(text) if len(x) == n_digits]
            if found:
                yield mention, kind, found[0].lower()


def stated_digest(subject: Subject) -> Iterator[Problem]:
    """KR204: digests in the text are those of the files."""
    files = subject.files or {}
    for mention, kind, said in digest_claims(subject):
        true = _true(files.get(mention.name), kind)
        if true and true != said:
            yield Problem(
                mention.line.number,
                f"{visible(mention.name)}: {kind} is said to be {said}, it is {true}",
            )


def _true(file: FileFacts | None, kind: str) -> str:
    """Return the digest that a file has, "" where it is not known."""
    if file is None:
        return ""
    if kind == "AutoV3":
        return autov3(file.data_sha256).lower() if file.data_sha256 else ""
    if not file.sha256:
        return ""
    return file.sha256 if kind == "SHA-256" else autov2(file.sha256).lower()


def header_hash(subject: Subject) -> Iterator[Problem]:
    """KR205: the hash that a header states is that of the data."""
    for file in subject.weights.values():
        metadata = file.weights.metadata if file.weights else {}
        stated = metadata.get(HASH_KEY, "").lower().removeprefix("0x")
        if EMPTY_SHA256 in {stated, metadata.get("sshs_model_hash", "").lower()}:
            text = "its header states the SHA-256 of nothing as its hash"
            yield Problem(0, text, file=file.name)
        elif stated and file.data_sha256 and stated != file.data_sha256:
            yield Problem(
                0,
                f"{HASH_KEY} is {visible(stated, 70)}, the data has {file.data_sha256}",
                file=file.name,
            )


def prediction(subject: Subject) -> Iterator[Problem]:
    """KR208: header and card agree with the marker that programs look at."""
    card = subject.card
    has_any = False
    for file in subject.weights.values():
        if file.weights is None:
            continue
        has_v = "v_pred" in file.weights.markers
        has_any = has_any or has_v
        stated = file.weights.metadata.get("modelspec.prediction_type", "").lower()
        if stated and stated.startswith("v") != has_v:
            marker = "holds the tensor v_pred" if has_v else "lacks the tensor v_pred"
            text = (
                f"modelspec.prediction_type is {visible(stated, 40)}, the file {marker}"
            )
            yield Problem(0, text, file=file.name)
    known = [file for file in subject.weights.values() if file.weights]
    says_v = _TITLE_V.search(card.text)
    if has_any and not says_v:
        text = "a file predicts v, as its tensor v_pred says; the card does not say it"
        yield Problem(card.title.number if card.title else 1, text)
    title = card.title
    if known and not has_any and title is not None and _TITLE_V.search(title.plain):
        text = "the title says v-prediction; no file holds the tensor v_pred"
        yield Problem(title.number, text)


def private(subject: Subject) -> Iterator[Problem]:
    """KR209: nothing private is in a header, and no path of somebody's machine here."""
    for file in subject.weights.values():
        metadata = file.weights.metadata if file.weights else {}
        for key, value in sorted(metadata.items()):
            reason = private_reason(key, value)
            if not reason and key in _TRAINING_KEYS and value.strip() not in {"", "{}"}:
                reason = "folders and settings of a training"
            if reason:
                text = f"header key {visible(key, 60)} gives away {reason}"
                yield Problem(0, text, file=file.name)
    for line in subject.card.lines:
        found = _PERSONAL_PATH.search(line.text)
        if found:
            text = f"a path of somebody's machine: {visible(found[0], 60)}"
            yield Problem(line.number, text, severity=WARNING)
