"""What lies in the zip of a variant: the checkpoint, licence texts, a short text."""

from collections.abc import Mapping
from pathlib import Path

from release.build import checkpoint_name
from release.card.pointer import ARCHIVE_README_NAME, archive_readme
from release.definition import Definition
from release.formats.archive import ZipMember, zip_nbytes
from release.metadata import LICENCE_NAME
from release.variants.preset import find_preset


def archive_name(definition: Definition, variant: str) -> str:
    """Return the file name of a variant's zip."""
    return f"{definition.release.file_stem}-{variant}.zip"


def archive_nbytes(
    definition: Definition, variant: str, nbytes: int, licences: Mapping[str, bytes]
) -> int:
    """Return the exact size of a zip whose checkpoint does not exist yet."""
    members = archive_members(definition, variant, b"", licences)
    sizes = {
        member.name: len(member.source)
        for member in members
        if isinstance(member.source, bytes)
    }
    return zip_nbytes({**sizes, checkpoint_name(definition, variant): nbytes})


def archive_members(
    definition: Definition,
    variant: str,
    checkpoint: Path | bytes,
    licences: Mapping[str, bytes],
) -> list[ZipMember]:
    """Return what a variant's zip holds: weights, licence texts, a word for the reader.

    Args:
        definition: Of the release.
        variant: Which checkpoint is in it.
        checkpoint: The file, or bytes that stand for it.
        licences: Every licence text of the release, by name.
    """
    name = checkpoint_name(definition, variant)
    full = next(
        (v for v in definition.release.variants if not find_preset(v).is_reduced),
        variant,
    )
    readme = archive_readme(
        definition,
        variant,
        file_name=name,
        full_precision_name=checkpoint_name(definition, full),
        inherited=[name for name in licences if name != LICENCE_NAME],
    )
    return [
        ZipMember(name, checkpoint),
        *(ZipMember(name, text) for name, text in licences.items()),
        ZipMember(ARCHIVE_README_NAME, readme.encode()),
    ]
