"""Rules that compare what a card says of files with the files: KR201 to KR203, KR211.

Sizes are compared as people write them: rounded, decimal or binary.
"""

import re
from collections.abc import Iterator
from typing import Final

from release.errors import visible
from release.lint.card import Card
from release.lint.mentions import Mention, mentions, names_in
from release.lint.rule import WARNING, Problem
from release.lint.subject import FileFacts, Subject, Weights
from release.numeric.size import size_text

_SIZE: Final = re.compile(
    r"(?i)(?<![\w.,-])(~|about |around |approx\.? )?(\d{1,5}(?:\.\d{1,3})?) ?"
    r"(GiB|MiB|GB|MB)\b(?! (?:of )?v?ram)"
)
_BYTES: Final = re.compile(r"(?<![\w.,])(\d{1,3}(?:[,_ ]\d{3}){1,4}|\d{5,15})(?![\w.])")
_BYTES_WORD: Final = re.compile(
    r"(?i)(?<![\w.,])(\d{1,3}(?:,\d{3}){1,4}|\d{5,15}) bytes\b"
)
_SIZE_HEAD: Final = re.compile(r"\bsize\b|file ?size")
_BYTES_HEAD: Final = re.compile(r"\bbytes\b")
_FACTORS: Final = {"gb": 1e9, "gib": 2**30, "mb": 1e6, "mib": 2**20}
_LOOSE: Final = {"gb": 2**30, "mb": 2**20}
"""Many write GB and mean GiB."""
_TOLERANCE: Final = 0.006
_TOLERANCE_ABOUT: Final = 0.06

_DTYPE: Final = re.compile(
    r"(?i)(?<![a-z0-9])(fp8|float8|e4m3(?:fn)?|e5m2|fp16|float16|bf16|bfloat16|"
    r"fp32|float32|f16|f32|half precision|full precision)(?![a-z0-9])"
)
_NOT_A_CLAIM: Final = re.compile(
    r"(?i)\b(?:quantiz|quantis|convert|cast|smaller than|compared|instead|than the"
    r"|of the|computation|compute|inference|train and"
    r"|loads? .{0,20}as|stores weights as)"
)
_DTYPE_HEAD: Final = re.compile(r"d-?type|precision|format|quant")
_KINDS: Final = {
    "fp8": "F8", "float8": "F8", "e4m3": "F8", "e4m3fn": "F8", "e5m2": "F8",
    "fp16": "F16", "float16": "F16", "f16": "F16", "half precision": "F16",
    "bf16": "BF16", "bfloat16": "BF16",
    "fp32": "F32", "float32": "F32", "f32": "F32", "full precision": "",
}  # fmt: skip
_KIND_NAMES: Final = {"F8": "fp8", "F16": "fp16", "BF16": "bf16", "F32": "fp32"}
_PARAMETERS: Final = re.compile(
    r"(?i)(?<![\w.])(\d{1,4}(?:\.\d{1,3})?) ?(b|m|billion|million)(?:illion)?"
    r"[ -](?:total |model )?param(?:eter)?s?\b"
)
_SCALES: Final = {"b": 1e9, "m": 1e6}
_PARAMETERS_TOLERANCE: Final = 0.06


def listed(subject: Subject) -> Iterator[Problem]:
    """KR201: every listed file is there, and every weight file is listed."""
    if subject.files is None or not subject.weights:
        return
    said: set[str] = set()
    for mention in mentions(subject.card):
        if mention.name in said or mention.name in _members(subject):
            continue
        claims = mention.is_own and (mention.cells or _SIZE.search(mention.text))
        # A name with a blank in it, or in a folder, is read from the middle on.
        is_there = any(name.endswith(mention.name) for name in subject.files)
        if claims and not is_there:
            said.add(mention.name)
            text = f"{visible(mention.name)} is not among the files"
            yield Problem(mention.line.number, text)
    body = "\n".join(line.text for line in subject.card.lines)
    named = names_in(body)
    if not named:
        return
    for name in sorted(subject.weights):
        is_ours = "/" not in name and name.endswith(".safetensors")
        if is_ours and not name.endswith(tuple(named)):
            text = "is not mentioned in the card, which names other files"
            yield Problem(0, text, file=name, severity=WARNING)


def _members(subject: Subject) -> set[str]:
    """Return the names of the files inside of the archives."""
    files = (subject.files or {}).values()
    return {member for file in files for member in file.members}


def size(subject: Subject) -> Iterator[Problem]:
    """KR202: sizes are those of the files."""
    for mention, file in _known(subject):
        exact = mention.cell(_BYTES_HEAD)
        numbers = _BYTES.findall(exact) or _BYTES_WORD.findall(mention.text)
        for number in numbers[:1]:
            nbytes = int(re.sub(r"[,_ ]", "", number))
            if nbytes != file.nbytes:
                yield _wrong_size(mention, file, f"{number} bytes")
        rounded = mention.cell(_SIZE_HEAD) if mention.cells else mention.text
        found = _SIZE.search(rounded or ("" if mention.cells else mention.text))
        if found and not _fits(found, file.nbytes):
            yield _wrong_size(mention, file, found[0].strip())


def _wrong_size(mention: Mention, file: FileFacts, said: str) -> Problem:
    return Problem(
        mention.line.number,
        f"{visible(file.name)} is said to have {said}, it has {file.nbytes:,} bytes "
        f"({size_text(file.nbytes)})",
    )


def _fits(found: re.Match[str], nbytes: int) -> bool:
    about, number, unit = found[1], found[2], found[3].lower()
    digits = len(number.partition(".")[2])
    for factor in (_FACTORS[unit], _LOOSE.get(unit, _FACTORS[unit])):
        half_unit = 0.5000001 * 10**-digits
        tolerance = _TOLERANCE_ABOUT if about else _TOLERANCE
        true = nbytes / factor
        if abs(float(number) - true) <= max(half_unit, tolerance * true):
            return True
    return False


def dtype(subject: Subject) -> Iterator[Problem]:
    """KR203: dtypes are those of the files; what calls itself fp8 holds fp8."""
    for mention, file in _known(subject):
        if file.weights is None:
            continue
        text = mention.cell(_DTYPE_HEAD) or mention.text
        claims = (_claimed(text, whole=not mention.cells), _claimed(mention.name))
        reasons = (_wrong_dtype(claimed, file.weights) for claimed in claims)
        reason = next(filter(None, reasons), "")
        if reason:
            yield Problem(mention.line.number, f"{visible(file.name)} {reason}")
    yield from _fp8_in_title(subject)


def _claimed(text: str, *, whole: bool = False) -> set[str]:
    """Return the kinds of dtype that a text claims; of prose only a bare claim."""
    if whole and _NOT_A_CLAIM.search(text):
        return set()
    found = {_KINDS[word.lower()] for word in _DTYPE.findall(text.replace("_", " "))}
    return found - {""}


def _wrong_dtype(claimed: set[str], weights: Weights) -> str:
    """Return what is wrong with claimed kinds, or ""."""
    held = {_kind(code) for code, nbytes in weights.dtypes.items() if nbytes} - {""}
    shown = ", ".join(_KIND_NAMES[kind] for kind in sorted(claimed))
    main = _main_kind(weights)
    if "F8" in claimed and "F8" not in held:
        return f"is said to be fp8; it holds no fp8, but {_KIND_NAMES.get(main, main)}"
    if claimed and "F8" not in claimed and "F8" in held:
        return f"is said to be {shown}; it holds fp8"
    if claimed and not claimed & held and main:
        return f"is said to be {shown}; it holds {_KIND_NAMES.get(main, main)}"
    return ""


def _kind(code: str) -> str:
    if code.startswith("F8_"):
        return "F8"
    return code if code in _KIND_NAMES else ""


def _main_kind(weights: Weights) -> str:
    code = max(weights.dtypes, key=lambda c: (weights.dtypes[c], c), default="")
    return _kind(code) or code


def _fp8_in_title(subject: Subject) -> Iterator[Problem]:
    """Yield a problem if the card as a whole claims fp8 and no file holds any."""
    known = [file.weights for file in subject.weights.values() if file.weights]
    if not known or any(_kind(c) == "F8" for w in known for c in w.dtypes):
        return
    line = _fp8_claim(subject.card)
    if line:
        main = _main_kind(known[0])
        total = size_text(max(file.nbytes for file in subject.weights.values()))
        yield Problem(
            line,
            f"the card claims fp8; no file holds any: the largest has {total} of "
            f"{_KIND_NAMES.get(main, main)}",
        )


def _fp8_claim(card: Card) -> int:
    """Return the line of the title or tag that says fp8, 0 for none."""
    if card.title is not None and "F8" in _claimed(card.title.plain):
        return card.title.number
    for at, tag in enumerate(card.texts("tags")):
        if "F8" in _claimed(tag):
            return card.front.line_of("tags", at)
    return 0


def parameters(subject: Subject) -> Iterator[Problem]:
    """KR211: numbers of parameters are those of some file, or of a part of one."""
    known = [file.weights for file in subject.weights.values() if file.weights]
    counts = {n for weights in known for n in weights.n_parameters.values() if n}
    if not counts:
        return
    for line in subject.card.prose:
        for number, scale in _PARAMETERS.findall(line.plain):
            said = float(number) * _SCALES[scale[0].lower()]
            if not any(abs(said - n) <= _PARAMETERS_TOLERANCE * n for n in counts):
                largest = max(weights.n_parameters["all"] for weights in known)
                yield Problem(
                    line.number,
                    f"says {number} {scale} parameters; the largest file has "
                    f"{largest:,}",
                )


def _known(subject: Subject) -> Iterator[tuple[Mention, FileFacts]]:
    """Yield the mentions of files that are there."""
    files = subject.files or {}
    for mention in mentions(subject.card):
        if mention.name in files:
            yield mention, files[mention.name]
