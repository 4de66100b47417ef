"""Claims of the catalog: files of known releases whose digests were published."""

from release.catalog.find import catalog_definition
from release.catalog.texts import catalog_names
from release.claims.claim import Claim, Source
from release.definition import Definition, KnownFile


def catalog_claims() -> tuple[Claim, ...]:
    """Return what the catalog knows of published files."""
    definitions = (catalog_definition(name)[0] for name in catalog_names())
    return tuple(
        _claim(definition, known)
        for definition in definitions
        for known in definition.known_files
    )


def _claim(definition: Definition, known: KnownFile) -> Claim:
    name = definition.release.name
    return Claim(
        Source("catalog", f"the catalog's {name} ({known.source})"),
        sha256=known.sha256,
        sha256_prefix=known.autov2.lower(),
        variant=known.variant,
        release=name,
    )
