"""Card sections about making images: settings, prompts, tags, sizes."""

import re
from decimal import Decimal
from typing import Final

from release.card import figures
from release.card.environment import Plain
from release.card.resolutions import ImageSize, SizeRow, percent, size_table
from release.definition import Definition, TagTable, Usage

_EXPLICIT: Final = re.compile(r"(?i)\b(?:nsfw|explicit)\b")


def settings_section(usage: Usage) -> dict[str, Plain]:
    """Return the recommended settings and the two prompts to copy."""
    low, high = figures.number(usage.cfg_min), figures.number(usage.cfg_max)
    return {
        "cfg": low if low == high else f"{low} to {high}",
        "min_pixels": usage.min_pixels,
        "max_pixels": usage.max_pixels,
        "training_resolution": usage.training_resolution,
        "sampler": usage.sampler,
        "prompt_format": usage.prompt_format,
        "prompt": usage.example_prompt,
        "negative_prompt": usage.example_negative_prompt,
        "notes": list(usage.notes),
    }


def middle_cfg(usage: Usage) -> int | float:
    """Return the middle of the recommended CFG range, whole if it is."""
    middle = (Decimal(str(usage.cfg_min)) + Decimal(str(usage.cfg_max))) / 2
    return int(middle) if middle == int(middle) else float(middle)


def tags_section(definition: Definition) -> list[Plain]:
    """Return the tag tables, in the maker's order and case."""
    return [_tag_table(table) for table in definition.tag_tables]


def draws_explicit(definition: Definition) -> bool:
    """Whether the tags of a model speak of explicit images."""
    tags = " ".join(row.tag for table in definition.tag_tables for row in table.rows)
    return _EXPLICIT.search(tags) is not None


def audience_note(definition: Definition) -> str:
    """Return for whom the page is, where its tags speak of explicit images; else ""."""
    if not draws_explicit(definition):
        return ""
    if definition.card.not_for_all_audiences:
        return "The model draws explicit images when asked to: not for all audiences."
    return (
        "The model draws explicit images when asked to. This page shows none, so it is "
        "not marked as not for all audiences."
    )


def sizes_section(usage: Usage) -> list[Plain]:
    """Return the rows of the size table; none if no size fits the pixel range."""
    return [_size_row(row) for row in size_table(usage.min_pixels, usage.max_pixels)]


def _tag_table(table: TagTable) -> dict[str, Plain]:
    return {
        "name": table.name,
        "order": table.order,
        "vocabulary": table.vocabulary or "",
        "other": table.other or "",
        "note": table.note or "",
        "rows": [
            {"meaning": row.meaning, "tag": row.tag, "other": row.other or ""}
            for row in table.rows
        ],
    }


def _size_row(row: SizeRow) -> dict[str, Plain]:
    return {
        "ratio": row.ratio,
        "sizes": [_size(size) for size in (row.small, row.standard, row.large)],
    }


def _size(size: ImageSize) -> dict[str, Plain]:
    return {
        "text": f"{size.width}x{size.height}",
        "deviation": percent(size.deviation),
        "is_trained": size.is_trained,
    }
