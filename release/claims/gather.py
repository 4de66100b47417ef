"""Who says something about a file, in the order in which they are asked."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from release.claims.carried import read_carried_claim
from release.claims.claim import Claim, Kind, Source, source_of_file
from release.claims.sums import read_sums_claims
from release.formats.header import Header
from release.metadata import (
    MANIFEST_NAME,
    RECORD_NAME,
    RECORD_SUFFIX,
    SHA256_SUMS_NAME,
    XXH128_SUMS_NAME,
)

_SHARD_NUMBER: Final = re.compile(r"-\d{5}-of-\d{5}$")

Reader = Callable[[Path, Source], tuple[Claim, ...]]


def gather_claims(
    path: Path,
    header: Header | None,
    *,
    named: Sequence[Claim] = (),
    beside: Sequence[Claim] | None = None,
) -> Iterator[Claim]:
    """Yield what is said about a file, the best source first.

    In this order: what the user named; a manifest, a record or sums beside the file;
    the digests in its own header; what the catalog knows. A source that lists many
    files is given whole, since a file may have been renamed. The catalog is read when
    nothing before it was enough.

    Args:
        path: The file.
        header: Its header, None where it has none.
        named: Claims of the source that the user named.
        beside: As `claims_beside`, for whoever has them already.

    Raises:
        InputError: As `claims_beside`.
        IntegrityError: As `claims_beside`.
    """
    yield from named
    yield from claims_beside(path) if beside is None else beside
    carried = None if header is None else read_carried_claim(header)
    if carried is not None:
        yield carried
    from release.claims.catalog import catalog_claims  # pydantic, and the recipes

    yield from catalog_claims()


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
    """
    kind: Kind = "manifest beside"
    stem = _SHARD_NUMBER.sub("", path.stem)
    record = path.with_name(f"{stem}{RECORD_SUFFIX}")
    if is_plain_file(record):
        return _read_manifest(record, source_of_file(kind, record))
    top = path.parent.parent
    record = top / RECORD_NAME
    if path.suffix and is_plain_file(record):
        return _read_manifest(record, source_of_file(kind, record))
    return ()


def is_plain_file(path: Path) -> bool:
    """Return whether a regular file is there, and not a symlink to one."""
    return path.is_file() and not path.is_symlink()


def _read_manifest(path: Path, source: Source) -> tuple[Claim, ...]:
    from release.claims.manifest import read_manifest_claims  # pydantic

    return read_manifest_claims(path, source)
