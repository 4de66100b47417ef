"""Comparing what was read of a file with what somebody says it is."""

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from release.claims.claim import Claim
from release.formats.header import Header, TensorSpec, lay_out
from release.formats.tensor import tensor_set
from release.verify.examine import Examination
from release.verify.trust import Compared


class Sameness(Enum):
    """How much of a claim holds."""

    FILE = "every byte"
    HEADER = "every tensor at its place, and another header"
    ORDER = "every tensor, at other places"
    FORGED = "everything by xxh3, and not by SHA-256"
    OTHER = "not the file"
    OPEN = "nothing of it was compared"


SAME_WEIGHTS = (Sameness.FILE, Sameness.HEADER, Sameness.ORDER)
"""The best first."""


class Comparison(NamedTuple):
    """What a claim and a file have in common, and the strongest thing compared."""

    sameness: Sameness
    compared: Compared


def claims_by_name(path: Path, claims: Sequence[Claim]) -> list[Claim]:
    """Return the claims about a file of this name, or that are about this very file.

    Names with folders are compared from the end: those that share most parts with the
    path are returned.
    """
    about = [claim for claim in claims if claim.source.kind == "header"]
    if about:
        return about
    # Lists may have thousands of names, and each file is looked up in all of them.
    near = [claim for claim in claims if (claim.name or "").endswith(path.name)]
    parts = path.absolute().parts[::-1]
    scores = [_score(parts, claim.name) for claim in near]
    best = max(scores, default=0)
    return [
        claim
        for claim, score in zip(near, scores, strict=True)
        if score == best and score > 0
    ]


def _score(parts: Sequence[str], name: str | None) -> int:
    """Return how many parts of a name, from its end, are those of the path."""
    if name is None:
        return 0
    wanted = name.split("/")[::-1]
    equal = 0
    for mine, theirs in zip(parts, wanted, strict=False):
        if mine != theirs:
            break
        equal += 1
    return equal


def compare(examined: Examination, claim: Claim) -> Comparison:
    """Compare a file with a claim by all that was read and is stated."""
    if claim.tensors and examined.tensors and examined.fault is None:
        return _by_tensors(examined, claim)
    return _by_whole(examined, claim)


def _by_whole(examined: Examination, claim: Claim) -> Comparison:
    prefix = examined.sha256 and examined.sha256[:10]
    pairs: tuple[tuple[Compared, str | None, str | None], ...] = (
        ("sha256", claim.sha256, examined.sha256),
        ("data", claim.data_sha256, examined.data_sha256),
        ("git", claim.git_blob_id, examined.git_blob_id),
        ("autov2", claim.sha256_prefix, prefix),
        ("xxh3", claim.xxh3_128, examined.xxh3_128),
    )
    known = [pair for pair in pairs if None not in pair]
    if claim.nbytes not in {None, examined.nbytes}:
        return Comparison(Sameness.OTHER, "size")
    different = [how for how, stated, found in known if stated != found]
    if different and len(different) < len(known):
        return Comparison(Sameness.FORGED, different[0])
    if different:
        return Comparison(Sameness.OTHER, different[0])
    if known:
        return Comparison(Sameness.FILE, known[0][0])
    has_digest = any(stated is not None for _, stated, _ in pairs)
    if claim.nbytes is None or claim.tensors or has_digest:
        return Comparison(Sameness.OPEN, "size")
    return Comparison(Sameness.FILE, "size")


def _by_tensors(examined: Examination, claim: Claim) -> Comparison:
    header = examined.header
    if header is None or differing_tensors(examined, claim):
        return Comparison(Sameness.OTHER, "xxh3")
    if claim.source.kind == "header":
        found = tensor_set(header.tensors, examined.tensors)
        if found != claim.tensor_set_xxh3_128:
            return Comparison(Sameness.OTHER, "xxh3")
    return _with_identity(examined, claim, _sameness(examined, header, claim))


def _with_identity(
    examined: Examination, claim: Claim, sameness: Sameness
) -> Comparison:
    """Return the comparison of a file whose tensors are equal, SHA-256 included."""
    if examined.sha256 is not None and claim.sha256 is not None:
        if examined.sha256 == claim.sha256:
            return Comparison(Sameness.FILE, "sha256")
        if sameness is Sameness.FILE:
            return Comparison(Sameness.FORGED, "sha256")
    elif examined.data_sha256 is not None and claim.data_sha256 is not None:
        if examined.data_sha256 == claim.data_sha256:
            return Comparison(sameness, "data")
        if sameness is not Sameness.ORDER:
            return Comparison(Sameness.FORGED, "data")
    return Comparison(sameness, "xxh3")


def _sameness(examined: Examination, header: Header, claim: Claim) -> Sameness:
    if claim.source.kind == "header":
        # Nothing vouches for the rest of the header; the order is krelease's own.
        written = lay_out(
            TensorSpec(each.name, each.dtype, each.shape) for each in header.tensors
        )
        return Sameness.FILE if header.tensors == written else Sameness.ORDER
    if examined.header_xxh3_128 == claim.header_xxh3_128:
        return Sameness.FILE
    begin = claim.header_nbytes or 0
    places = {each.name: each.offset - begin for each in claim.tensors}
    moved = any(places[each.name] != each.begin for each in header.tensors)
    return Sameness.ORDER if moved else Sameness.HEADER


def differing_tensors(examined: Examination, claim: Claim) -> set[str]:
    """Return the tensors that only one has, or that differ in dtype, shape or data.

    Of a file that was cut, those that it lacks are among them.
    """
    stated = {each.name: each for each in claim.tensors}
    entries = examined.header.tensors if examined.header else ()
    differing = stated.keys() ^ {entry.name for entry in entries}
    for entry in entries:
        tensor = stated.get(entry.name)
        if tensor is not None and (
            examined.tensors.get(entry.name) != tensor.xxh3_128
            or (entry.dtype.code, entry.shape) != (tensor.dtype, tensor.shape)
        ):
            differing.add(entry.name)
    return differing
