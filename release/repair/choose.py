"""What the file was: the best of all that is said about it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from release.claims.claim import Claim
from release.errors import IntegrityError, visible
from release.formats.input import InputFile
from release.formats.limits import HEADER_NBYTES_MAX
from release.numeric.digest import xxh3_128
from release.repair.alike import OwnHeader, claim_forms, is_other, is_same
from release.repair.header import (
    Fetched,
    original_by_fetched_header,
    original_by_own_header,
)
from release.repair.pieces import Original, Piece, chunk_pieces
from release.repair.source import RangeSource

_SUFFIX: Final = ".safetensors"


def require_named(path: Path, claims: Sequence[Claim], *, what: str) -> None:
    """Refuse claims that the user named and that are not about the file.

    Args:
        path: The file.
        claims: What the user named says.
        what: How the user named it, safe for a terminal.

    Raises:
        IntegrityError: `not-named`.
    """
    if any(each.chunks for each in claims) or _whole_about(path.name, claims, None):
        return
    raise _not_named(path, what)


def _not_named(path: Path, what: str) -> IntegrityError:
    return IntegrityError(
        f"{what}: says nothing about {visible(path.name)} that it could be repaired by",
        code="not-named",
        hint="give the file the name that it has there, or name its own manifest",
    )


@dataclass(frozen=True, slots=True)
class Said:
    """Who says what the file was.

    Attributes:
        claims: What the user named, or else what lies beside the file; the best first.
        from_source: What the source's keeper says about its copy.
        own: What the file's own header says.
    """

    claims: Sequence[Claim]
    from_source: Sequence[Claim]
    own: OwnHeader | None

    @property
    def is_named(self) -> bool:
        """Whether the user said what the file should be."""
        return any(each.source.is_named for each in self.claims)

    def vouches_for(self, file: InputFile) -> bool:
        """Return whether the claims, but for those of the source, know the file."""
        return (
            _chunks_about(file, self.claims, self.own) is not None
            or _whole_about(file.path.name, self.claims, self.own) is not None
        )


def find_original(
    file: InputFile, said: Said, source: RangeSource, *, full: bool
) -> Original | None:
    """Return what the file was, in as small pieces as is known without fetching.

    First the chunks that a manifest names; then the tensor digests in the file's own
    header; then digests of the whole file, which make it one piece without a digest of
    its own. What the user named, or what lies beside the file, is asked before what is
    said about the source.

    Args:
        file: The damaged file.
        said: What is said about it.
        source: Where whole bytes come from; its keeper may state a SHA-256.
        full: All of it will be fetched, so that digests of the whole file are worth
            more than those in its own header, which may have been edited.

    Returns:
        None where nobody knows anything.

    Raises:
        InputError: The file cannot be read.
        IntegrityError: `not-named`; what the user named is not about the file.
    """
    if said.is_named and not said.vouches_for(file):
        raise _not_named(file.path, said.claims[0].source.label)
    own, groups = said.own, (said.claims, said.from_source)
    chunked = next(
        filter(None, (_chunks_about(file, each, own) for each in groups)), None
    )
    name = file.path.name if chunked is None else chunked.file_name
    whole = next(filter(None, (_whole_about(name, each, own) for each in groups)), None)
    if chunked is not None:
        return _with_whole(_of_chunks(chunked), whole)
    original = _of_whole(whole, source)
    if original is None or not full:
        original = original_by_own_header(file) or original
    return original and _with_whole(original, whole)


def require_same_tensors(
    file: InputFile, own: OwnHeader | None, source: RangeSource, *, fetched: Fetched
) -> None:
    """Refuse to replace a file by a copy with other tensors, before it is fetched.

    Raises:
        HubError: As for `RangeSource.read_range`.
        InputError: As for `RangeSource.read_range`.
        IntegrityError: `different-file`; `source-header`.
    """
    name = file.path.name
    if source.takes_whole or (own is None and Path(source.label).name == visible(name)):
        return
    if own is not None or file.path.suffix == _SUFFIX:
        original_by_fetched_header(source, own, fetched=fetched)
        return
    raise IntegrityError(
        f"{source.label}: nobody says that it is {visible(name)}, which has another "
        "name and no header to compare; nothing was changed",
        code="different-file",
        hint="say what the file should be: --against MANIFEST, SHA256SUMS or SHA-256",
    )


def locate_by_source(
    file: InputFile,
    known: Original | None,
    source: RangeSource,
    *,
    own: OwnHeader | None,
    fetched: Fetched,
) -> Original:
    """Return an original in pieces by the header of the source, or else `known`.

    Raises:
        HubError: As for `RangeSource.read_range`.
        InputError: As for `RangeSource.read_range`.
        IntegrityError: `no-digests`, nobody knows what the file was; `source-header`.
    """
    if source.takes_whole and known is None:
        raise _no_digests(file, source)
    try:
        found = original_by_fetched_header(source, own, fetched=fetched)
    except IntegrityError as error:
        if known is None or error.code == "different-file":
            raise
        return known
    if found is not None:
        whole = known or found
        return replace(found, sha256=whole.sha256, xxh3_128=whole.xxh3_128)
    if known is None:
        raise _no_digests(file, source)
    return known


def _no_digests(file: InputFile, source: RangeSource) -> IntegrityError:
    return IntegrityError(
        f"{visible(file.path, 1024)}: no digests exist for this file: no manifest "
        f"or sums name it, its header has none, and {source.label} states no "
        "SHA-256",
        code="no-digests",
        hint="name its manifest, its sums file or its SHA-256 with --against",
    )


def require_same_file(original: Original, source: RangeSource) -> Original:
    """Return the original with what the source's keeper says about the whole file.

    Raises:
        IntegrityError: `different-file`; the source has another size or SHA-256.
    """
    _require_same(source, original.nbytes, original.sha256, original.told_by)
    return replace(original, sha256=original.sha256 or source.sha256)


def _require_same(
    source: RangeSource, nbytes: int | None, sha256: str | None, told_by: str
) -> None:
    if nbytes not in {None, source.nbytes}:
        got, expected = f"{source.nbytes:,} bytes", f"{nbytes:,}"
    elif None not in {sha256, source.sha256} and sha256 != source.sha256:
        got, expected = f"SHA-256 {source.sha256}", str(sha256)
    else:
        return
    raise IntegrityError(
        f"{source.label}: is a different file: {got}, expected {expected} by "
        f"{told_by}; nothing was changed",
        code="different-file",
        hint="name the repository, revision or copy that holds the same file",
    )


def _chunks_about(
    file: InputFile, claims: Sequence[Claim], own: OwnHeader | None
) -> Claim | None:
    """Return the claim with chunks that is about this file.

    A file that was renamed is known by its header, its tensors, or by its size if
    nothing else has it. Of one whose header has another length every chunk is another,
    so that chunks say nothing.
    """
    known = [each for each in claims if each.chunks and each.nbytes]
    by_header = [each for each in known if _has_header_of(file, each)]
    if by_header:
        return by_header[0]
    known = [
        each
        for each in known
        if not (own and is_same(own, claim_forms(each)) and own.nbytes != each.nbytes)
    ]
    by_name = [each for each in known if each.file_name == file.path.name]
    by_tensors = [each for each in known if is_same(own, claim_forms(each))]
    by_size = [
        each
        for each in known
        if each.nbytes == file.nbytes and not is_other(own, claim_forms(each))
    ]
    found = by_name or by_tensors or (by_size if len(by_size) == 1 else [])
    return found[0] if found else None


def _whole_about(
    name: str | None, claims: Sequence[Claim], own: OwnHeader | None
) -> Claim | None:
    """Return the first claim with a digest of the whole file of that name.

    A claim without a name is about the file, whatever it is called; so is one with the
    tensors of its header.
    """
    known = [each for each in claims if each.sha256 or each.xxh3_128]
    named = [each for each in known if each.file_name in {None, name}]
    by_tensors = (each for each in known if is_same(own, claim_forms(each)))
    return named[0] if named else next(by_tensors, None)


def _has_header_of(file: InputFile, claim: Claim) -> bool:
    nbytes = claim.header_nbytes or 0
    if not 0 < nbytes <= min(file.nbytes, HEADER_NBYTES_MAX):
        return False
    return xxh3_128(file.read(0, nbytes)) == claim.header_xxh3_128


def _of_chunks(claim: Claim) -> Original:
    if claim.nbytes is None:
        raise AssertionError("chunks come with a size")
    return Original(
        claim.nbytes,
        chunk_pieces(claim.nbytes, claim.chunks),
        claim.source.label,
        xxh3_128=claim.xxh3_128,
        sha256=claim.sha256,
    )


def _of_whole(claim: Claim | None, source: RangeSource) -> Original | None:
    nbytes = source.nbytes
    if claim is not None and claim.nbytes is not None:
        nbytes = claim.nbytes
    pieces = (Piece(0, nbytes, "", "the whole file"),) if nbytes else ()
    if claim is not None:
        return Original(nbytes, pieces, claim.source.label)
    if source.sha256 is not None:
        return Original(nbytes, pieces, source.label, sha256=source.sha256)
    return None


def _with_whole(original: Original, whole: Claim | None) -> Original:
    if whole is None:
        return original
    return replace(
        original,
        sha256=whole.sha256 or original.sha256,
        xxh3_128=whole.xxh3_128 or original.xxh3_128,
    )
