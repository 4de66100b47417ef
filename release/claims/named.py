"""What the user says that files should be: `--against`, in one of its forms."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from release.claims.beside import is_plain_file
from release.claims.claim import SHA256_OF_NOTHING, Claim, Source, source_of_file
from release.claims.sums import read_sums_claims
from release.errors import InputError, UsageError, visible
from release.formats.input import InputFile
from release.metadata import MANIFEST_NAME

_DIGEST: Final = re.compile(r"(0x|sha256:)?([0-9a-f]{10}|[0-9a-f]{64})", re.IGNORECASE)
_REPO: Final = re.compile(
    r"(hf://)?(?P<repo>[a-z0-9][\w.-]*/[a-z0-9_][\w.-]*)(@(?P<revision>[^\s/@]+))?",
    re.ASCII | re.IGNORECASE,
)
_BARE: Final = re.compile(rb"\s*([0-9a-fA-F]{64})\s*")
"""A file that holds a digest and no name."""
_BEGIN_NBYTES: Final = 100
_FILE_NAME: Final = re.compile(r".*(\.json|sums|\.sha256|\.txt)", re.IGNORECASE)
_FORMS: Final = (
    "name a manifest.json or the folder of a release, a SHA256SUMS or XXH128SUMS file, "
    "OWNER/REPO[@REVISION], an AutoV2 (10 hex digits) or a SHA-256 (64)"
)


@dataclass(frozen=True, slots=True)
class HubRevision:
    """A repository of a Hub, to be asked by whoever has a connection.

    `revision` is a branch, a tag or a commit.
    """

    repo_id: str
    revision: str


def read_named(what: str) -> tuple[Claim, ...] | HubRevision:
    """Return what `--against` says: claims, or the Hub that has them.

    A path that leads somewhere is a file, whatever else it looks like.

    Raises:
        UsageError: `against`, of no known form; the digest of nothing is none.
        InputError: It is no regular file, or is not there.
        IntegrityError: The file is no manifest and no sums file.
    """
    if not what.strip():
        raise UsageError(
            "--against: is empty, expected what the files should be",
            code="against",
            hint=_FORMS,
        )
    path = Path(what)
    if _is_there(path) and path.is_dir():
        if is_plain_file(path / MANIFEST_NAME):
            return _read_file(path / MANIFEST_NAME)
        raise InputError(
            path,
            f"is a folder without a {MANIFEST_NAME}, expected a list",
            code="not-a-file",
            hint=_FORMS,
        )
    if _is_there(path):
        return _read_file(path)
    digest = _DIGEST.fullmatch(what)
    if digest is not None:
        return (_digest_claim(what, digest[2].lower()),)
    if _FILE_NAME.fullmatch(what):
        raise InputError(path, "not found", code="not-found", hint=_FORMS)
    found = _REPO.fullmatch(what)
    if found is not None:
        return HubRevision(found["repo"], found["revision"] or "main")
    raise UsageError(
        f"--against {visible(what)}: no such file, and neither a repository nor a "
        "digest",
        code="against",
        hint=_FORMS,
    )


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except (OSError, ValueError):
        return False
    return True


def _read_file(path: Path) -> tuple[Claim, ...]:
    """Read a manifest or a record if it begins as a JSON object, else sums."""
    with InputFile(path) as file:
        begin = file.read(0, min(file.nbytes, _BEGIN_NBYTES))
    digest = _BARE.fullmatch(begin)
    if digest and file.nbytes < _BEGIN_NBYTES and path.suffix.lower() == ".sha256":
        source = Source("sha256", visible(path, 1024))
        return (Claim(source, sha256=digest[1].decode().lower()),)
    if begin.lstrip().startswith(b"{"):
        from release.claims.manifest import read_manifest_claims  # pydantic

        return read_manifest_claims(path, source_of_file("named manifest", path))
    return read_sums_claims(path, source_of_file("named sums", path))


def _digest_claim(what: str, digits: str) -> Claim:
    if SHA256_OF_NOTHING.startswith(digits):
        raise UsageError(
            f"--against {visible(what)}: is the SHA-256 of nothing, which faulty "
            "programs write in place of a digest",
            code="against",
            hint="look the digest up where the file was published",
        )
    if len(digits) == 10:
        source = Source("autov2", f"the AutoV2 {digits.upper()}")
        return Claim(source, sha256_prefix=digits)
    return Claim(Source("sha256", f"the SHA-256 {digits[:10]}…"), sha256=digits)
