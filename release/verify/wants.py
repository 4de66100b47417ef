"""Which source is asked first about a file, and what must be read for it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from release.claims.claim import Claim
from release.verify.compare import claims_by_name
from release.verify.examine import Examination, Wants
from release.verify.report import Level

Groups = Sequence[Sequence[Claim]]
"""The claims of each source."""


def in_order(path: Path, groups: Groups, *, level: Level) -> Groups:
    """Return the sources in the order in which they are asked.

    Those that can answer at the level that was asked for come first. Where that is
    xxh3, nothing is put behind the file's own header.
    """

    def rank(group: Sequence[Claim]) -> int:
        claims = claims_by_name(path, group) or group
        if group[0].source.kind == "header" and level == "xxh3":
            return 2
        return 0 if any(_fits(claim, level) for claim in claims) else 1

    return sorted(groups, key=rank)


def _fits(claim: Claim, level: Level) -> bool:
    if level == "sha256":
        return bool(claim.sha256 or claim.data_sha256)
    return bool(claim.tensors or claim.xxh3_128)


def wants_of(
    examined: Examination, groups: Groups, *, level: Level, values: bool
) -> Wants:
    """Return what must be read of a file, so that the first source can answer.

    Where no source is about it for certain, it is what tells whether one is: tensors,
    or the SHA-256 that the catalog knows files by. Values are looked at where no
    digests of krelease tell that they are those that it wrote.

    Args:
        examined: The file, with its header read.
        groups: In the order in which they are asked.
        level: What the user wants to know.
        values: Look at the values in any case.
    """
    wants = _digests(examined, groups, level)
    return replace(wants, values=values or not wants.tensors)


def _digests(examined: Examination, groups: Groups, level: Level) -> Wants:
    if examined.fault is not None and examined.header is None:
        claims = [claim for group in groups for claim in group]
        return _of(examined, claims, level) if claims else Wants()
    for group in groups:
        claims = claims_by_name(examined.path, group)
        if claims or group[0].source.is_named:
            return _of(examined, claims or group, level)
    has_tensors = any(claim.tensors for group in groups for claim in group)
    is_whole = examined.fault is None
    return Wants(tensors=has_tensors, sha256=is_whole)


def _is_about_data(claim: Claim) -> bool:
    """Return whether the SHA-256 of the data is all that a claim says."""
    return bool(claim.data_sha256) and not (claim.tensors or claim.xxh3_128)


def _of(examined: Examination, claims: Sequence[Claim], level: Level) -> Wants:
    has_header = examined.header is not None
    tensors = has_header and any(claim.tensors for claim in claims)
    rest = () if tensors else claims  # a checkpoint is compared with checkpoints
    is_identity = level == "sha256" or any(
        claim.source.kind == "hub" or _is_about_data(claim) for claim in claims
    )
    has_sha256 = any(claim.sha256 or claim.sha256_prefix for claim in claims)
    only_sha256 = any(claim.xxh3_128 is None for claim in rest)
    return Wants(
        tensors=tensors,
        whole=any(claim.xxh3_128 for claim in rest),
        sha256=has_sha256 and (is_identity or only_sha256),
        git=any(claim.git_blob_id for claim in rest),
        data=has_header
        and is_identity
        and not has_sha256
        and any(claim.data_sha256 for claim in claims),
    )
