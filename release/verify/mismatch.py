"""A file that is not what it should be: damaged, cut, or another file altogether."""

from collections.abc import Sequence

from release.claims.claim import Claim
from release.errors import first_names, visible
from release.numeric.digest import autov2
from release.verify.compare import SAME_WEIGHTS, Sameness, compare
from release.verify.cut import cut, is_cut
from release.verify.examine import Examination
from release.verify.report import FileVerdict
from release.verify.tensor_damage import by_claimed_tensors, by_own_digests
from release.verify.unfulfilled import Unfulfilled


def mismatch(
    name: str, examined: Examination, claim: Claim, *, own: Claim | None
) -> FileVerdict:
    """Return what is wrong with a file that is not what `claim` says.

    Args:
        name: What the report calls it.
        examined: What was read of it; still open, and read further where that helps.
        claim: What it should be.
        own: What its own header says; a file that fulfils this is whole, and another.

    Raises:
        InputError: The file cannot be read any more.
    """
    examined.read_tensors()
    case = Unfulfilled(name, examined, claim, own)
    is_own = claim.source.kind == "header"
    if compare(examined, claim).sameness is Sameness.FORGED:
        return _forged(case)
    if own and not is_own and compare(examined, own).sameness in SAME_WEIGHTS:
        return _another_whole_file(case, own)
    if is_cut(examined, claim):
        return cut(case)
    if not claim.tensors:
        return _by_digest(case)
    return by_own_digests(case) if is_own else by_claimed_tensors(case)


def not_listed(
    name: str, examined: Examination, group: Sequence[Claim], *, own: Claim | None
) -> FileVerdict:
    """Return the answer about a file that a list has neither by name nor by digest.

    Args:
        name: What the report calls it.
        examined: What was read of it; still open, and read further where that helps.
        group: All that the list says; only digests of whole files.
        own: What its own header says.

    Raises:
        InputError: The file cannot be read any more.
    """
    examined.read_tensors()
    label = group[0].source.label
    digests = [f"the SHA-256 {examined.sha256}" if examined.sha256 else ""]
    digests.append(f"the xxh3-128 {examined.xxh3_128}" if examined.xxh3_128 else "")
    found = " or ".join(filter(None, digests)) or "its digest"
    detail = (
        f"{label} has neither {visible(examined.path.name)} nor {found}; it has "
        f"{first_names(str(each.name) for each in group)}"
    )
    if own is not None and compare(examined, own).sameness in SAME_WEIGHTS:
        detail += "; its tensors equal the digests in its own header, so it is whole"
    claim = Claim(group[0].source, sha256=group[0].sha256, xxh3_128=group[0].xxh3_128)
    return Unfulfilled(name, examined, claim, own).verdict("not what it claims", detail)


def _forged(case: Unfulfilled) -> FileVerdict:
    claim, examined = case.claim, case.examined
    found, expected, what = examined.sha256, claim.sha256, "SHA-256"
    if found is None or expected is None:
        found, expected = examined.data_sha256, claim.data_sha256
        what = "SHA-256 of the data"
    return case.verdict(
        "not what it claims",
        f"{what} is {found}; expected {expected}; all else is equal by xxh3, which no "
        "accident does",
    )


def _another_whole_file(case: Unfulfilled, own: Claim) -> FileVerdict:
    label = case.claim.source.label
    is_same_release = own.release is not None and own.release == case.claim.release
    if is_same_release and own.variant and own.variant != case.claim.variant:
        return case.verdict(
            "another variant",
            f"is the variant {own.variant} of {own.release} by its own header, and "
            f"whole; {label} is about another file",
        )
    who = f" ({own.variant} of {own.release})" if own.release and own.variant else ""
    edited = "" if case.claim.tensors else ", or one whose header was edited"
    return case.verdict(
        "not what it claims",
        f"{_difference(case)}; its tensors equal the digests in its own header{who}, "
        f"so it is whole, but another file{edited}",
    )


def _by_digest(case: Unfulfilled) -> FileVerdict:
    """Return the answer where only digests of the whole file are known."""
    examined, claim, own = case.examined, case.claim, case.own
    if own is not None and own.tensors and examined.fault is None:
        return by_own_digests(Unfulfilled(case.name, examined, own, own))
    if examined.fault is not None and examined.header is not None:
        return case.verdict("damaged", examined.fault.reason)
    detail = _difference(case)
    if claim.source.kind in {"manifest beside", "named manifest"}:
        return case.verdict("damaged", detail)
    return case.verdict("not what it claims", detail)


def _difference(case: Unfulfilled) -> str:
    """Return what differs, the size first, as both sides have it."""
    examined, claim = case.examined, case.claim
    if claim.nbytes not in {None, examined.nbytes}:
        return f"has {examined.nbytes:,} bytes; expected {claim.nbytes:,}"
    if claim.sha256 not in {None, examined.sha256} and examined.sha256 is not None:
        return f"its SHA-256 is {examined.sha256}; expected {claim.sha256}"
    if claim.data_sha256 not in {None, examined.data_sha256} and examined.data_sha256:
        stated = f"expected {claim.data_sha256}"
        return f"the SHA-256 of its data is {examined.data_sha256}; {stated}"
    if claim.sha256_prefix is not None and examined.sha256 is not None:
        expected = claim.sha256_prefix.upper()
        return f"its AutoV2 is {autov2(examined.sha256)}; expected {expected}"
    if claim.xxh3_128 not in {None, examined.xxh3_128} and examined.xxh3_128:
        return f"its xxh3-128 is {examined.xxh3_128}; expected {claim.xxh3_128}"
    return f"its bytes differ from {claim.source.label}"
