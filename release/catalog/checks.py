"""What is wrong with a definition that no value alone shows."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from release.definition import Definition, Identity, Sample, Usage
from release.errors import visible
from release.recipe.names import suggestion
from release.recipe.problems import Problem
from release.variants.preset import PRESET_NAMES

_IMAGE_STARTS: Final = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")
_RIFF_NBYTES: Final = 12
"""Bytes that a WebP file begins with: "RIFF", its size, "WEBP"."""


def definition_problems(
    definition: Definition, folder: Path | None
) -> Iterator[Problem]:
    """Yield what is wrong: names that clash, ranges that are none, lost images.

    Args:
        definition: Valid value by value.
        folder: Where its images are looked for; None for nowhere.
    """
    yield from _variant_problems(definition.release)
    yield from _ingredient_problems(definition)
    yield from _usage_problems(definition.usage)
    yield from _tag_problems(definition)
    for at, sample in enumerate(definition.samples):
        yield from _sample_problems(sample, definition.usage, f"samples[{at}]", folder)


def _usage_problems(usage: Usage) -> Iterator[Problem]:
    if usage.min_pixels > usage.max_pixels:
        text = f"{usage.min_pixels:,} is above max_pixels, {usage.max_pixels:,}"
        yield Problem("usage.min_pixels", text)
    if not math.isfinite(usage.cfg_max):
        text = f"{usage.cfg_min}..{usage.cfg_max} is not a range"
        yield Problem("usage.cfg_min", text)
    elif usage.cfg_min > usage.cfg_max:
        text = f"{usage.cfg_min:g} is above cfg_max, {usage.cfg_max:g}"
        yield Problem("usage.cfg_min", text)


def _tag_problems(definition: Definition) -> Iterator[Problem]:
    for number, table in enumerate(definition.tag_tables):
        key = f"tag_tables[{number}].rows"
        yield from _repeated(key, "tag", [row.tag for row in table.rows])
        others = [at for at, row in enumerate(table.rows) if row.other is not None]
        if others and table.other is None:
            text = f"of which vocabulary? tag_tables[{number}].other names it"
            yield Problem(f"{key}[{others[0]}].other", text)
    card = definition.card
    yield from _repeated("card.tags", "tag", card.tags)
    yield from _repeated("card.datasets", "data set", card.datasets)
    yield from _repeated("card.language", "language", card.language)


def _repeated(key: str, what: str, values: Iterable[str]) -> Iterator[Problem]:
    """Yield a problem for every value of a list that was there before."""
    seen: dict[str, int] = {}
    for at, value in enumerate(values):
        first = seen.setdefault(value, at)
        if first != at:
            text = f"{what} '{visible(value)}' is there twice, first in {key}[{first}]"
            yield Problem(f"{key}[{at}]", text)


def _sample_problems(
    sample: Sample, usage: Usage, key: str, folder: Path | None
) -> Iterator[Problem]:
    pixels = sample.width * sample.height
    if not usage.min_pixels <= pixels <= usage.max_pixels:
        text = (
            f"{sample.width}x{sample.height} has {pixels:,} pixels, expected "
            f"{usage.min_pixels:,} to {usage.max_pixels:,} as usage says"
        )
        yield Problem(f"{key}.width", text)
    if sample.cfg is not None and not math.isfinite(sample.cfg):
        yield Problem(f"{key}.cfg", f"got {sample.cfg}, expected a finite number")
    reason = _image_fault(sample.image, folder)
    if reason:
        text = f"'{visible(sample.image)}' {reason}"
        yield Problem(f"{key}.image", text)


def _image_fault(image: str, folder: Path | None) -> str:
    """Return what is wrong with the image of a sample, "" for nothing."""
    name = PurePosixPath(image)
    if name.is_absolute() or ".." in name.parts or "\\" in image:
        return "is not a path inside the definition's folder"
    if folder is None:
        return "cannot be there: the definition lies in no folder"
    try:
        if not (folder / name).is_file():
            return "does not exist"
        with (folder / name).open("rb") as file:
            begin = file.read(_RIFF_NBYTES)
    except (OSError, ValueError) as error:
        return f"cannot be read: {visible(error, 100)}"
    is_webp = begin[:4] != b"RIFF" or begin[8:] == b"WEBP"
    if begin.startswith(_IMAGE_STARTS) and is_webp:
        return ""
    return "is not a PNG, JPEG or WebP file"


def _variant_problems(release: Identity) -> Iterator[Problem]:
    for index, variant in enumerate(release.variants):
        key = f"release.variants[{index}]"
        if variant not in PRESET_NAMES:
            hint = suggestion(variant, PRESET_NAMES)
            yield Problem(key, f"unknown variant '{visible(variant)}'; {hint}")
        elif variant in release.variants[:index]:
            yield Problem(key, f"'{variant}' is listed twice")
    for index, variant in enumerate(release.archives):
        if variant not in release.variants:
            text = f"'{visible(variant)}' is not one of release.variants"
            yield Problem(f"release.archives[{index}]", text)


def _ingredient_problems(definition: Definition) -> Iterator[Problem]:
    for name, source in definition.ingredients.items():
        file = PurePosixPath(source.file or "file")
        if file.is_absolute() or ".." in file.parts or "\\" in str(file):
            text = f"got '{visible(file)}', expected a path inside the repository"
            yield Problem(f"ingredients.{name}.file", text)
