"""What lies beside a file and says something about it."""

import re
import stat
from pathlib import Path
from typing import Final

from release.claims.claim import Claim, Kind, Source, source_of_file
from release.claims.sums import read_sums_claims
from release.metadata import (
    MANIFEST_NAME,
    RECORD_NAME,
    RECORD_SUFFIX,
    SHA256_SUMS_NAME,
    XXH128_SUMS_NAME,
)

_SHARD_NUMBER: Final = re.compile(r"-\d{5}-of-\d{5}$")


def claims_beside(path: Path) -> tuple[Claim, ...]:
    """Return what manifest, record and sums in the file's folder say about any file.

    A manifest.json of another program is passed over, and so are symlinks.

    Raises:
        InputError: One of them cannot be read.
        IntegrityError: One of them is not what its name or its schema promises.
    """
    return (*folder_claims(path.parent), *record_claims(path))


def folder_claims(folder: Path) -> tuple[Claim, ...]:
    """Return what a folder's manifest and sums say; see `claims_beside`."""
    found: list[Claim] = []
    manifest = folder / MANIFEST_NAME
    if is_plain_file(manifest):
        from release.claims.manifest import is_of_krelease  # pydantic

        if is_of_krelease(manifest):
            source = source_of_file("manifest beside", manifest)
            found += _read_manifest(manifest, source)
    for name in (SHA256_SUMS_NAME, XXH128_SUMS_NAME):
        if is_plain_file(folder / name):
            source = source_of_file("sums beside", folder / name)
            found += read_sums_claims(folder / name, source)
    return tuple(found)


def record_claims(path: Path) -> tuple[Claim, ...]:
    """Return what the record of the conversion that made `path` says.

    It lies beside the file and has its stem, without a shard's number; in a converted
    folder it lies at the top, above the file's own folder.

    Raises:
        InputError: It cannot be read.
        IntegrityError: It is not what its name promises.
    """
    if not path.name:
        return ()
    kind: Kind = "manifest beside"
    stem = _SHARD_NUMBER.sub("", path.stem)
    record = path.with_name(f"{stem}{RECORD_SUFFIX}")
    if is_plain_file(record):
        return _read_manifest(record, source_of_file(kind, record))
    record = path.parent.parent / RECORD_NAME
    if path.suffix and is_plain_file(record):
        return _read_manifest(record, source_of_file(kind, record))
    return ()


def is_plain_file(path: Path) -> bool:
    """Return whether a regular file is there, and not a symlink to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):  # the name may be too long, or hold a NUL
        return False


def _read_manifest(path: Path, source: Source) -> tuple[Claim, ...]:
    from release.claims.manifest import read_manifest_claims  # pydantic

    return read_manifest_claims(path, source)
