"""What is at hand about a file: what the user named, or what lies beside it."""

from pathlib import Path
from typing import Final

from release.claims.claim import Claim, source_of_file
from release.claims.gather import claims_beside
from release.claims.sums import read_sums_claims
from release.errors import IntegrityError, visible
from release.formats.input import InputFile

_BLANKS: Final = b" \t\r\n\xef\xbb\xbf"
_PROBE_NBYTES: Final = 64


def read_claims(path: Path, against: Path | None) -> tuple[Claim, ...]:
    """Return what the named file says, or else what lies beside `path`.

    Args:
        path: The file to repair.
        against: A manifest, the record of a conversion, or sums.

    Raises:
        InputError: One of them cannot be read.
        IntegrityError: `not-named`, the named one is not about `path`; or one is not
            what its name or its schema promises.
    """
    if against is None:
        return claims_beside(path)
    claims = _read(against)
    if not any(each.chunks or each.file_name == path.name for each in claims):
        raise IntegrityError(
            f"{visible(against, 1024)}: does not name {visible(path.name)}",
            code="not-named",
            hint="give the file the name that it has there, or name its own manifest",
        )
    return claims


def _read(against: Path) -> tuple[Claim, ...]:
    with InputFile(against) as file:
        begin = file.read(0, min(_PROBE_NBYTES, file.nbytes))
    if not begin.lstrip(_BLANKS).startswith(b"{"):
        return read_sums_claims(against, source_of_file("named sums", against))
    from release.claims.manifest import read_manifest_claims  # pydantic

    source = source_of_file("named manifest", against)
    return read_manifest_claims(against, source)
