"""A file known by the tensor digests in its header, its own or the source's."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from release.claims.claim import Claim
from release.errors import CheckpointError, IntegrityError, visible
from release.formats.header import Header, read_header, read_stated_header
from release.formats.input import InputFile
from release.formats.limits import HEADER_NBYTES_MAX
from release.numeric.digest import xxh3_128
from release.repair.alike import OwnHeader, header_forms, require_alike, sound_claim
from release.repair.pieces import Original, Piece
from release.repair.source import RangeSource

_LENGTH_NBYTES: Final = 8

Fetched = Callable[[int], None]
"""Called with bytes that arrived."""


@dataclass(frozen=True, slots=True)
class _Beginning:
    """The first bytes of a file, read as if the rest were there."""

    path: Path
    nbytes: int
    read: Callable[[int, int], bytes]


def original_by_own_header(file: InputFile) -> Original | None:
    """Return what the tensor digests in the file's own header say.

    The header is believed when the digest over all names, dtypes, shapes and digests
    agrees, so that none of them is damaged. The bytes of the header itself are not
    known by that: the first piece is the first tensor.

    Args:
        file: The damaged file, perhaps cut.

    Returns:
        None where the header cannot be read, says nothing, or is damaged.
    """
    try:
        header = read_stated_header(file)
    except CheckpointError:
        return None
    claim = sound_claim(header)
    return None if claim is None else _original(claim, header, "its own header")


def original_by_fetched_header(
    source: RangeSource, own: OwnHeader | None, *, fetched: Fetched
) -> Original | None:
    """Return what the header of the source says, None where it carries no digests.

    Args:
        source: Where it lies.
        own: What the file's own header says.
        fetched: Told of every byte.

    Raises:
        HubError: As for `RangeSource.read_range`.
        InputError: As for `RangeSource.read_range`.
        IntegrityError: `source-header`, it is not the header of a safetensors file;
            `different-file`, it is about other tensors than the file's own.
    """
    raw = _fetch(source, 0, min(_LENGTH_NBYTES, source.nbytes), fetched)
    end = _LENGTH_NBYTES + int.from_bytes(raw, "little")
    if _LENGTH_NBYTES < end <= min(source.nbytes, HEADER_NBYTES_MAX):
        raw += _fetch(source, _LENGTH_NBYTES, end, fetched)
    header = _parse(source, raw)
    require_alike(own, header_forms(header), label=source.label, who="its header")
    claim = sound_claim(header)
    if claim is None:
        return None
    original = _original(claim, header, f"the header at {source.label}")
    return _with_header(original, raw)


def with_fetched_header(
    original: Original, source: RangeSource, *, fetched: Fetched
) -> Original:
    """Return the same original with the header's own bytes, from the source.

    Raises:
        HubError: As for `RangeSource.read_range`.
        InputError: As for `RangeSource.read_range`.
        IntegrityError: `different-file`; the source's header is about other tensors.
    """
    raw = _fetch(source, 0, original.pieces[0].begin, fetched)
    require_header(raw, original, source)
    return _with_header(original, raw)


def with_unknown_header(original: Original) -> Original:
    """Return the same original with a header that nobody knows before it arrives."""
    piece = Piece(0, original.pieces[0].begin, "", "the header")
    return replace(original, pieces=(piece, *original.pieces))


def require_header(raw: bytes, original: Original, source: RangeSource) -> None:
    """Refuse a header that is not about the tensors of the original.

    Args:
        raw: The bytes of the header, the length field included.
        original: Whose pieces are the tensors, perhaps behind an unknown header.
        source: Where the header is from, for messages.

    Raises:
        IntegrityError: `different-file`; `source-header`.
    """
    claim = sound_claim(_parse(source, raw))
    tensors = original.pieces[original.has_unknown_header :]
    if claim is None or _tensor_pieces(claim) != tensors:
        raise IntegrityError(
            f"{source.label}: its header is about other tensors than "
            f"{original.told_by} is; the file is as it was",
            code="different-file",
            hint="name another --from, or the file's manifest with --against",
        )


def _with_header(original: Original, raw: bytes) -> Original:
    piece = Piece(0, len(raw), xxh3_128(raw), "the header")
    return replace(original, header=raw, pieces=(piece, *original.pieces))


def _original(claim: Claim, header: Header, told_by: str) -> Original:
    nbytes = header.nbytes + max(each.end for each in header.tensors)
    return Original(nbytes, _tensor_pieces(claim), told_by)


def _tensor_pieces(claim: Claim) -> tuple[Piece, ...]:
    """Return the tensors that have bytes."""
    return tuple(
        Piece(
            each.offset,
            each.offset + each.nbytes,
            each.xxh3_128,
            f"tensor {visible(each.name)}",
        )
        for each in claim.tensors
        if each.nbytes
    )


def _parse(source: RangeSource, raw: bytes) -> Header:
    beginning = _Beginning(
        Path(source.label), source.nbytes, lambda at, n: raw[at : at + n]
    )
    try:
        return read_header(beginning)
    except CheckpointError as error:
        raise IntegrityError(
            f"{source.label}: {error.reason}; the file is as it was",
            code="source-header",
            hint="that copy is damaged, or it is another file: name another --from",
        ) from error


def _fetch(source: RangeSource, begin: int, end: int, fetched: Fetched) -> bytes:
    raw = bytearray()
    if begin < end:
        with closing(source.read_range(begin, end)) as blocks:
            for block in blocks:
                fetched(len(block))
                raw += block
    return bytes(raw)
