"""The answer about one file, from what was read of it and what is said of it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from release.claims.claim import Claim
from release.errors import visible
from release.metadata import STAND_IN_KEY
from release.numeric.digest import autov2
from release.verify.compare import (
    SAME_WEIGHTS,
    Comparison,
    Sameness,
    claims_by_name,
    compare,
)
from release.verify.cut import by_stated_size, in_header
from release.verify.examine import Examination, Wants
from release.verify.mismatch import mismatch, not_listed
from release.verify.own_facts import own_facts
from release.verify.report import FileVerdict, Level, Verdict
from release.verify.trust import Compared, Reached

_TOO_WEAK: Final[frozenset[Compared]] = frozenset({"size", "xxh3", "autov2"})
"""What is no identity."""

_VERDICTS: Final[dict[Sameness, Verdict]] = {
    Sameness.FILE: "intact",
    Sameness.HEADER: "header edited",
    Sameness.ORDER: "re-serialised",
}


@dataclass(frozen=True, slots=True)
class Case:
    """A file that was read, and who says something about it.

    Attributes:
        name: What the report calls it.
        examined: What was read of it; still open.
        groups: The claims of each source, in the order in which they are asked.
        own: What its own header says.
        catalog: Asked last.
        level: What the user wants to know.
        wants: What was read for it.
    """

    name: str
    examined: Examination
    groups: Sequence[Sequence[Claim]]
    own: Claim | None
    catalog: Callable[[], Sequence[Claim]]
    level: Level
    wants: Wants


def judge(case: Case) -> FileVerdict:
    """Return the answer.

    Raises:
        InputError: The file cannot be read any more.
    """
    verdict = next(filter(None, map(_asker(case), case.groups)), None)
    if verdict is None:
        verdict = _by_the_catalog(case) or _by_nobody(case)
    header = case.examined.header
    return replace(
        verdict,
        is_stand_in=header is not None and STAND_IN_KEY in header.metadata,
        findings=own_facts(case.examined, verdict),
    )


def _asker(case: Case) -> Callable[[Sequence[Claim]], FileVerdict | None]:
    return lambda group: _ask(case, group)


def _ask(case: Case, group: Sequence[Claim]) -> FileVerdict | None:
    """Return what one source's claims lead to; None where it is about other files."""
    examined = case.examined
    named = claims_by_name(examined.path, group)
    found = _best(examined, named)
    if found is not None:
        return _good(case, *found)
    other = _best(examined, [claim for claim in group if claim not in named])
    if other is not None and not named:
        return _good(case, *other)
    if other is not None:
        return _another(case, named[0], *other)
    if named:
        return mismatch(case.name, examined, named[0], own=case.own)
    return _not_by_name(case, group)


def _not_by_name(case: Case, group: Sequence[Claim]) -> FileVerdict | None:
    """Return the answer where a source has neither the name nor the bytes."""
    examined, is_named = case.examined, group[0].source.is_named
    if is_named and not any(_tells_itself(each) for each in group):
        return not_listed(case.name, examined, group, own=case.own)
    similar = _most_similar(examined, group, least=0.0 if is_named else 0.5)
    if similar is None:
        return None
    return mismatch(case.name, examined, similar, own=case.own)


def _tells_itself(claim: Claim) -> bool:
    """Return whether a claim is about a file whatever it is called."""
    return claim.name is None or bool(claim.tensors)


def _best(
    examined: Examination, claims: Iterable[Claim]
) -> tuple[Claim, Comparison] | None:
    found = [(claim, compare(examined, claim)) for claim in claims]
    for sameness in SAME_WEIGHTS:
        for claim, comparison in found:
            if comparison.sameness is sameness:
                return claim, comparison
    return None


def _most_similar(
    examined: Examination, group: Sequence[Claim], *, least: float
) -> Claim | None:
    """Return the claim that most tensors are equal to; None if it is too few."""
    shares = [(_similarity(examined, claim), claim) for claim in group]
    share, claim = max(shares, key=lambda pair: pair[0])
    return claim if share >= least else None


def _similarity(examined: Examination, claim: Claim) -> float:
    if not claim.tensors:
        return 0.0
    equal = sum(
        examined.tensors.get(each.name) == each.xxh3_128 for each in claim.tensors
    )
    return equal / len(claim.tensors)


def _good(case: Case, claim: Claim, comparison: Comparison) -> FileVerdict:
    examined = case.examined
    reached = Reached(claim.source, comparison.compared)
    verdict = _VERDICTS[comparison.sameness]
    detail = _detail(examined, claim, comparison)
    renamed = claim.file_name not in {None, examined.path.name}
    if renamed:
        detail += f"; there it is called {visible(claim.name)}"
    is_weak = comparison.compared in _TOO_WEAK
    if case.level == "sha256" and verdict == "intact" and is_weak:
        verdict = "unknown"
        detail = f"{detail}, but nobody says what its SHA-256 is"
    return FileVerdict(
        case.name,
        verdict,
        detail,
        examined.nbytes,
        examined.path,
        variant=claim.variant or (case.own.variant if case.own else None),
        release=claim.release or (case.own.release if case.own else None),
        reached=reached,
        known_as=claim.name,
    )


def _detail(examined: Examination, claim: Claim, comparison: Comparison) -> str:
    match comparison.sameness:
        case Sameness.HEADER:
            return "same weights; another program has changed the header"
        case Sameness.ORDER:
            return "same weights; another program has written them in another order"
        case _:
            return _equals(examined, claim)


def _equals(examined: Examination, claim: Claim) -> str:
    label, n_tensors = claim.source.label, len(examined.tensors)
    if claim.source.kind == "catalog":
        return f"is a file of {claim.release} by {label}"
    if claim.source.kind == "header" and not claim.tensors:
        return "its data has the SHA-256 that its header states"
    if claim.source.kind == "header":
        return f"{n_tensors:,} tensors equal the digests in the header"
    if claim.tensors and examined.tensors:
        return f"{n_tensors:,} tensors and the header equal {label}"
    return f"equals {label}"


def _another(
    case: Case, wanted: Claim, claim: Claim, comparison: Comparison
) -> FileVerdict:
    """Return the answer for a file that is another one of the same source."""
    good = _good(case, claim, comparison)
    is_variant = bool(claim.variant) and claim.release == wanted.release
    what = f"the variant {claim.variant}" if is_variant else visible(claim.name)
    return replace(
        good,
        verdict="another variant" if is_variant else "not what it claims",
        detail=f"is {what} by {claim.source.label}, and is called "
        f"{visible(case.examined.path.name)}",
    )


def _by_the_catalog(case: Case) -> FileVerdict | None:
    if case.examined.sha256 is None:
        return None
    found = _best(case.examined, case.catalog())
    return None if found is None else _good(case, *found)


def _by_nobody(case: Case) -> FileVerdict:
    examined = case.examined
    verdict = by_stated_size(case.name, examined) or in_header(case.name, examined)
    if verdict is not None:
        return verdict
    if examined.fault is not None:
        return FileVerdict(
            case.name,
            "unreadable",
            examined.fault.reason,
            examined.nbytes,
            examined.path,
            error=examined.fault,
        )
    detail = (
        "the header carries no tensor digests: not written by krelease, or they were "
        "removed"
        if examined.header is not None
        else "no list names it"
    )
    if examined.sha256 is not None:
        detail += (
            f"; its SHA-256 is {examined.sha256} (AutoV2 {autov2(examined.sha256)}), "
            "which the catalog does not know"
        )
    return FileVerdict(case.name, "unknown", detail, examined.nbytes, examined.path)
