"""The claim that a file carries in its own header, as krelease writes it."""

import re
from typing import Final

from release.claims.claim import SHA256_OF_NOTHING, Claim, Source, TensorClaim
from release.errors import visible
from release.formats.header import Header
from release.metadata import (
    DATA_SHA256_KEY,
    RELEASE_KEY,
    TENSOR_DIGESTS_KEY,
    TENSOR_SET_KEY,
    VARIANT_KEY,
)

_SOURCE: Final = Source("header", "the digests in its own header")
_HEX_32: Final = re.compile(r"[0-9a-f]{32}")
_DATA: Final = re.compile(r"0x([0-9a-f]{64})")


def read_carried_claim(header: Header) -> Claim | None:
    """Return what a header says about its own file, None where it says nothing usable.

    The digests of tensors lie in the order of their sorted names, so they mean nothing
    once there are more or fewer. A header of another program may still have the SHA-256
    of the data, by ModelSpec: the claim then has no tensors.

    Args:
        header: Of the file; of one that was cut, too.
    """
    digests = _digests(header)
    metadata = header.metadata
    data = _DATA.fullmatch(metadata.get(DATA_SHA256_KEY, "").lower())
    data_sha256 = data[1] if data and data[1] != SHA256_OF_NOTHING else None
    if digests is None:
        return (
            None
            if data_sha256 is None
            else Claim(
                _SOURCE,
                data_sha256=data_sha256,
                variant=_shown(header, VARIANT_KEY),
                release=_shown(header, RELEASE_KEY),
            )
        )
    tensor_set = metadata.get(TENSOR_SET_KEY, "")
    return Claim(
        _SOURCE,
        nbytes=header.nbytes + max(each.end for each in header.tensors),
        data_sha256=data_sha256,
        tensor_set_xxh3_128=tensor_set if _HEX_32.fullmatch(tensor_set) else None,
        tensors=tuple(
            TensorClaim(
                each.name,
                each.dtype.code,
                each.shape,
                header.nbytes + each.begin,
                each.nbytes,
                digests[each.name],
            )
            for each in header.tensors
        ),
        variant=_shown(header, VARIANT_KEY),
        release=_shown(header, RELEASE_KEY),
    )


def _digests(header: Header) -> dict[str, str] | None:
    """Return tensor name -> digest; None where they do not fit."""
    joined = header.metadata.get(TENSOR_DIGESTS_KEY, "")
    names = sorted(each.name for each in header.tensors)
    if not names or re.fullmatch(r"[0-9a-f]+", joined) is None:
        return None
    if len(joined) != 32 * len(names):
        return None
    return {name: joined[32 * at : 32 * at + 32] for at, name in enumerate(names)}


def _shown(header: Header, key: str) -> str | None:
    """Return a value of the metadata, safe for a terminal."""
    text = header.metadata.get(key)
    return None if text is None else visible(text, 64)
