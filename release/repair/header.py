"""A file known by the tensor digests in its header, its own or the source's."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from release.claims.carried import read_carried_claim
from release.claims.claim import Claim
from release.errors import CheckpointError, IntegrityError, visible
from release.formats.header import Header, read_header, read_stated_header
from release.formats.input import InputFile
from release.formats.limits import HEADER_NBYTES_MAX
from release.formats.tensor import tensor_set
from release.numeric.digest import xxh3_128
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
    claim = _sound_claim(header)
    return None if claim is None else _original(claim, header, "its own header")


def original_by_fetched_header(
    source: RangeSource, *, fetched: Fetched
) -> Original | None:
    """Return what the header of the source says, None where it carries no digests.

    Raises:
        HubError: As for `RangeSource.read_range`.
        InputError: As for `RangeSource.read_range`.
        IntegrityError: `source-header`; it is not the header of a safetensors file.
    """
    raw = _fetch(source, 0, min(_LENGTH_NBYTES, source.nbytes), fetched)
    end = _LENGTH_NBYTES + int.from_bytes(raw, "little")
    if _LENGTH_NBYTES < end <= min(source.nbytes, HEADER_NBYTES_MAX):
        raw += _fetch(source, _LENGTH_NBYTES, end, fetched)
    header = _parse(source, raw)
    claim = _sound_claim(header)
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
    header = _parse(source, raw)
    claim = _sound_claim(header)
    if claim is None or _tensor_pieces(claim) != original.pieces:
        raise IntegrityError(
            f"{source.label}: its header is about other tensors than "
            f"{original.told_by} is; the file is as it was",
            code="different-file",
            hint="name another --from, or the file's manifest with --against",
        )
    return _with_header(original, raw)


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


def _sound_claim(header: Header) -> Claim | None:
    claim = read_carried_claim(header)
    if claim is None or not any(each.nbytes for each in claim.tensors):
        return None
    digests = {each.name: each.xxh3_128 for each in claim.tensors}
    is_sound = tensor_set(header.tensors, digests) == claim.tensor_set_xxh3_128
    return claim if is_sound else None


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
