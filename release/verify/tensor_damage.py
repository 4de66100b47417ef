"""Which tensors are damaged, or the header that says where they lie."""

from collections.abc import Set as AbstractSet
from typing import Final

from release.claims.claim import Claim
from release.errors import first_names
from release.formats.tensor import tensor_set
from release.metadata import TENSOR_SET_KEY
from release.verify.compare import differing_tensors
from release.verify.damage import damage_of
from release.verify.examine import Examination
from release.verify.report import FileVerdict
from release.verify.unfulfilled import Unfulfilled

_OTHER_WEIGHTS: Final = (
    "the digests in its header are those of other weights: another program changed "
    "the weights and kept them"
)


def by_claimed_tensors(case: Unfulfilled) -> FileVerdict:
    """Return the answer for a file that should have the tensors of a manifest.

    The header's word for where they lie is taken first. Where that finds more damage
    than looking at the places that the manifest names, it is the header that is
    damaged.
    """
    examined, claim = case.examined, case.claim
    names = {each.name for each in claim.tensors}
    is_same_header = examined.header_xxh3_128 == claim.header_xxh3_128
    listed = differing_tensors(examined, claim) if examined.header else names
    if not listed and examined.fault is not None:
        return case.verdict("damaged", examined.fault.reason, compared="xxh3")
    if is_same_header:
        return _damaged(case, listed, listed)
    placed = _differing_at_their_places(examined, claim)
    damaged = placed if examined.header is None or placed < listed else listed & names
    if 2 * len(damaged) > len(names):
        return _not_it(case, n_equal=len(names - damaged))
    if damaged is listed or (damaged == listed and examined.header is not None):
        return _damaged(case, listed, listed)
    return _damaged_header(case, listed if examined.header else damaged, damaged)


def by_own_digests(case: Unfulfilled) -> FileVerdict:
    """Return the answer for a file that does not fulfil its own header's digests.

    The digest of the whole set tells which of the two is wrong, header or data.
    """
    examined, claim = case.examined, case.claim
    differing = differing_tensors(examined, claim)
    entries = examined.header.tensors if examined.header else ()
    if not differing and examined.fault is not None:
        return case.verdict("damaged", examined.fault.reason, compared="xxh3")
    if tensor_set(entries, examined.tensors) == claim.tensor_set_xxh3_128:
        detail = f"the header is damaged: its digests of {_shown(differing)} are wrong"
        return _header(case, detail, differing, set())
    if not differing:
        detail = f"a tensor's name, dtype or shape differs from {TENSOR_SET_KEY}"
        return _header(case, detail, set(), set())
    stated = {each.name: each.xxh3_128 for each in claim.tensors}
    is_true = tensor_set(entries, stated) == claim.tensor_set_xxh3_128
    if not is_true and 2 * len(differing) > len(stated):
        return case.verdict("not what it claims", _OTHER_WEIGHTS, compared="xxh3")
    return _damaged(case, differing, differing)


def _differing_at_their_places(examined: Examination, claim: Claim) -> set[str]:
    """Return the tensors whose bytes are not where the claim says that they lie."""
    shift = 0
    if examined.nbytes != claim.nbytes and examined.header is not None:
        shift = examined.header.nbytes - (claim.header_nbytes or 0)
    differing: set[str] = set()
    for tensor in claim.tensors:
        begin = tensor.offset + shift
        end = begin + tensor.nbytes
        if end > examined.nbytes or examined.digest(begin, end) != tensor.xxh3_128:
            differing.add(tensor.name)
    return differing


def _damaged(
    case: Unfulfilled, names: AbstractSet[str], damaged: AbstractSet[str]
) -> FileVerdict:
    many = "tensor is" if len(names) == 1 else "tensors are"
    detail = f"{len(names):,} {many} damaged: {first_names(sorted(names))}"
    claim, examined = case.claim, case.examined
    is_same_layout = examined.header is not None and (
        examined.header.nbytes == claim.header_nbytes
    )
    return case.verdict(
        "damaged",
        detail,
        tensors=tuple(sorted(names)),
        damage=damage_of(
            damaged,
            claim,
            has_header=False,
            file=examined.file if is_same_layout else None,
        ),
        compared="xxh3",
    )


def _damaged_header(
    case: Unfulfilled, names: AbstractSet[str], damaged: AbstractSet[str]
) -> FileVerdict:
    fault = case.examined.fault
    if fault is not None:
        reason = fault.reason
    else:
        reason = f"it has another name, dtype, shape or place for {_shown(names)}"
    detail = f"the header is damaged: {reason}"
    if damaged:
        many = "tensor is" if len(damaged) == 1 else "tensors are"
        detail += f"; {len(damaged):,} {many} damaged: {first_names(sorted(damaged))}"
    return _header(case, detail, names, damaged)


def _header(
    case: Unfulfilled,
    detail: str,
    names: AbstractSet[str],
    damaged: AbstractSet[str],
) -> FileVerdict:
    claim, file = case.claim, case.examined.file
    return case.verdict(
        "damaged",
        detail,
        tensors=tuple(sorted(names)),
        damage=damage_of(damaged, claim, has_header=True, file=file),
        compared="xxh3",
    )


def _not_it(case: Unfulfilled, *, n_equal: int) -> FileVerdict:
    claim, fault = case.claim, case.examined.fault
    detail = f"{n_equal:,} of {len(claim.tensors):,} tensors equal {claim.source.label}"
    if fault is not None:
        detail = f"{fault.reason}; {detail}"
    return case.verdict("not what it claims", detail, compared="xxh3")


def _shown(names: AbstractSet[str]) -> str:
    many = "tensor" if len(names) == 1 else "tensors"
    return f"{len(names):,} {many} ({first_names(sorted(names))})"
