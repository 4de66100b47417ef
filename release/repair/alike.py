"""Whether the file and a claim, or another copy, are about the same tensors."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from release.claims.carried import read_carried_claim
from release.claims.claim import Claim
from release.errors import CheckpointError, IntegrityError, visible
from release.formats.header import Header, read_stated_header
from release.formats.input import InputFile
from release.formats.tensor import tensor_set

Forms = Mapping[str, tuple[str, tuple[int, ...], str | None]]
"""Tensor name -> dtype, shape and xxh3_128, where that is known."""


@dataclass(frozen=True, slots=True)
class OwnHeader:
    """What the file's own header says, damaged or not.

    Attributes:
        forms: Its tensors.
        is_sound: Whether the digest over all of them agrees, so that none is damaged.
        nbytes: Bytes of the file that it describes.
    """

    forms: Forms
    is_sound: bool
    nbytes: int


def read_own_header(file: InputFile) -> OwnHeader | None:
    """Return what the file's header says, None where it cannot be read.

    Args:
        file: The damaged file, perhaps cut.
    """
    try:
        header = read_stated_header(file)
    except CheckpointError:
        return None
    nbytes = header.nbytes + max((each.end for each in header.tensors), default=0)
    return OwnHeader(header_forms(header), sound_claim(header) is not None, nbytes)


def sound_claim(header: Header) -> Claim | None:
    """Return what a header carries, None where that is nothing, or damaged."""
    claim = read_carried_claim(header)
    if claim is None or not any(each.nbytes for each in claim.tensors):
        return None
    digests = {each.name: each.xxh3_128 for each in claim.tensors}
    is_sound = tensor_set(header.tensors, digests) == claim.tensor_set_xxh3_128
    return claim if is_sound else None


def header_forms(header: Header) -> Forms:
    """Return the tensors of a header, with the digests that it carries."""
    claim = read_carried_claim(header)
    if claim is not None and claim.tensors:
        return claim_forms(claim)
    return {each.name: (each.dtype.code, each.shape, None) for each in header.tensors}


def claim_forms(claim: Claim) -> Forms:
    """Return the tensors that a claim names."""
    return {
        each.name: (each.dtype, each.shape, each.xxh3_128) for each in claim.tensors
    }


def is_same(own: OwnHeader | None, forms: Forms) -> bool:
    """Return whether a header that is not damaged names exactly these tensors."""
    return (
        own is not None
        and own.is_sound
        and _n_equal(own.forms, forms) == len(own.forms.keys() | forms.keys())
    )


def is_other(own: OwnHeader | None, forms: Forms) -> bool:
    """Return whether the file is about other tensors.

    A header whose digests agree must name the same ones. The bytes of any other may be
    damaged, a name that moves all digests by one included: three of four digests must
    be the same, or, where one side has none, of the tensors. Variants of one release
    often share half of them.
    """
    if own is None or not forms:
        return False
    if own.is_sound:
        return not is_same(own, forms)
    mine, theirs = _digests(own.forms), _digests(forms)
    if mine and theirs:
        return 4 * len(mine & theirs) < 3 * len(mine | theirs)
    return 4 * _n_equal(own.forms, forms) < 3 * len(own.forms.keys() | forms.keys())


def require_alike(own: OwnHeader | None, forms: Forms, *, label: str, who: str) -> None:
    """Refuse a source that is about other tensors than the file's own header.

    Args:
        own: The file's own header; None: it cannot be read, and nothing is refused.
        forms: What the source has.
        label: What the source is called.
        who: Who says what the source has.

    Raises:
        IntegrityError: `different-file`.
    """
    if own is None or not is_other(own, forms):
        return
    n_equal = _n_equal(own.forms, forms)
    raise IntegrityError(
        f"{label}: is a different file by {who}: {n_equal:,} of {len(own.forms):,} "
        "tensors that the file's own header names are there; nothing was changed",
        code="different-file",
        hint="name the copy of this very file; if the file should be the other one, "
        "copy it yourself",
    )


def require_claims_alike(
    own: OwnHeader | None, claims: Iterable[Claim], *, label: str
) -> None:
    """Refuse a source whose claims are about other tensors; see `require_alike`."""
    for claim in claims:
        who = visible(claim.source.label)
        require_alike(own, claim_forms(claim), label=label, who=who)


def _digests(forms: Forms) -> set[str]:
    return {digest for _, _, digest in forms.values() if digest is not None}


def _n_equal(forms: Forms, others: Forms) -> int:
    return sum(
        name in others and _is_equal(form, others[name]) for name, form in forms.items()
    )


def _is_equal(
    form: tuple[str, tuple[int, ...], str | None],
    other: tuple[str, tuple[int, ...], str | None],
) -> bool:
    digests = {form[2], other[2]} - {None}
    return form[:2] == other[:2] and len(digests) < 2
