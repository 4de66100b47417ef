"""Card section about the ingredients: what went in, and what is known about it."""

import re
from typing import Final

from release.card.environment import Plain
from release.definition import Definition, IngredientSource
from release.licences.known import canonical_licence, licence_remark
from release.manifest import IngredientRecord, Manifest
from release.numeric.size import size_text

HUB: Final = "https://huggingface.co"

_HUB_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
_COMMIT: Final = re.compile(r"[0-9a-f]{7,64}")
_COMMIT_DIGITS: Final = 12


def ingredients_section(definition: Definition, manifest: Manifest) -> list[Plain]:
    """Return one entry per ingredient that was read, in the definition's order."""
    records = {record.name: record for record in manifest.ingredients}
    return [
        _ingredient(records[name], source)
        for name, source in definition.ingredients.items()
        if name in records
    ]


def _ingredient(record: IngredientRecord, source: IngredientSource) -> dict[str, Plain]:
    return {
        "name": record.name,
        "title": source.title,
        "size": size_text(record.nbytes),
        "stand_in": record.stand_in,
        "facts": list(source.facts),
        **_place(record, source),
        **_licence(record.licence or source.licence or ""),
        "licence_reason": record.licence_reason or source.licence_reason or "",
        **_digest(record),
    }


def _place(record: IngredientRecord, source: IngredientSource) -> dict[str, Plain]:
    """Return where others find it; empty strings for what is not known.

    Where it was read from goes before where it is said to be. A commit belongs to the
    repository it was read from and to no other.
    """
    read_from = record.hub or ""
    hub = read_from if _HUB_ID.fullmatch(read_from) else source.hub or ""
    commit = record.commit or ""
    pinned = bool(hub) and hub == read_from and bool(_COMMIT.fullmatch(commit))
    url = f"{HUB}/{hub}" if hub else ""
    return {
        "hub": hub,
        "url": f"{url}/tree/{commit}" if pinned else url,
        "commit": commit[:_COMMIT_DIGITS] if pinned else "",
        "file": source.file or "",
    }


def _licence(declared: str) -> dict[str, Plain]:
    canonical = canonical_licence(declared)
    return {
        "licence": declared,
        "licence_canonical": "" if canonical == declared else canonical,
        "licence_remark": licence_remark(declared),
    }


def _digest(record: IngredientRecord) -> dict[str, Plain]:
    if record.sha256:
        return {"digest_kind": "SHA-256 of the file", "digest": record.sha256}
    kind = "xxh3-128 of its tensors"
    return {"digest_kind": kind, "digest": record.tensor_set_xxh3_128}
