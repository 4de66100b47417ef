"""Repairing one file: find what is damaged, then mend it."""

import os
from collections.abc import Sequence
from pathlib import Path

from release.claims.claim import Claim
from release.errors import InputError, IntegrityError, OutputExistsError, visible
from release.formats.input import InputFile
from release.formats.parts import remove_if_stale
from release.progress import Progress
from release.repair.choose import find_original, require_same_file
from release.repair.copy import copy_path
from release.repair.damage import Check, parts_check
from release.repair.header import with_fetched_header
from release.repair.keep import damaged_path
from release.repair.mend import mend, plan, still_wrong
from release.repair.pieces import Original, Piece, join
from release.repair.report import Fault, RepairOptions, RepairReport
from release.repair.source import RangeSource
from release.repair.work import Work


def repair(
    path: Path,
    source: RangeSource,
    claims: Sequence[Claim],
    options: RepairOptions,
    *,
    threads: int,
    progress: Progress,
) -> RepairReport:
    """Make a damaged file whole with bytes from another copy of it.

    The damaged file is only read, until the repaired copy was compared with all that
    is known about it and takes its place in one step. Whatever stops a repair, the
    copy stays beside the file, and the next repair goes on from it.

    Args:
        path: The file, perhaps cut.
        source: Where whole bytes come from; it stays open.
        claims: What is said about the file and others, the best first.
        options: What is wanted.
        threads: Worker threads for comparing.
        progress: Where the stages are shown.

    Raises:
        HubError: The server refuses, stumbles, or answers something else.
        InputError: The file cannot be read, is a symlink, or changed meanwhile.
        IntegrityError: `no-digests`, `no-piece-digests`, `different-file`,
            `mostly-damaged`, `source-bytes`, `source-header` or `repaired-bytes`.
        OutputError: The repaired copy cannot be written or put in place.
    """
    if path.is_symlink():
        raise InputError(
            path,
            "is a symlink, expected the file itself",
            code="symlink",
            hint=f"name the file that it leads to: {visible(path.resolve(), 1024)}",
        )
    if options.keep and os.path.lexists(damaged_path(path)):
        hint = "move it away, or leave --keep out"
        raise OutputExistsError(damaged_path(path), hint=hint)
    with InputFile(path) as file:
        return _repair(Work(file, source, options, threads, progress), claims)


def _repair(work: Work, claims: Sequence[Claim]) -> RepairReport:
    file, options = work.file, work.options
    original = find_original(file, claims, work.source, fetched=work.tally.add)
    bad = work.damage_in(file, file.nbytes, original.pieces, label="look for damage")
    check = _whole_check(work, original, bad)
    if check is not None and check.is_whole:
        file.check_unchanged()
        remove_if_stale(copy_path(file.path))
        return _report(work, original, check)
    original = require_same_file(original, work.source)
    if original.begins_behind_header:
        original = with_fetched_header(original, work.source, fetched=work.tally.add)
        head = work.damage_in(
            file, file.nbytes, original.pieces[:1], label="compare the header"
        )
        bad = head + bad
    elif check is not None and not bad and not options.full:
        raise still_wrong(visible(file.path, 1024), original, check)
    fault = _fault(file.nbytes, original, bad)
    _require_consent(work, original, fault)
    done = (
        plan(work, original, bad) if options.plans_only else mend(work, original, bad)
    )
    return RepairReport(
        file.path,
        work.source.label,
        "damaged" if options.plans_only else "repaired",
        original.told_by,
        original.nbytes,
        fault=fault,
        to_fetch_nbytes=done.to_fetch_nbytes,
        fetched_nbytes=work.tally.nbytes,
        n_ranges=done.n_ranges,
        checked=done.check.how if done.check else "",
        digest=done.check.got if done.check else "",
        kept=done.kept,
    )


def _whole_check(work: Work, original: Original, bad: Sequence[Piece]) -> Check | None:
    """Compare the whole file, None where that it is damaged is known already."""
    if work.file.nbytes != original.nbytes or (bad and original.is_in_pieces):
        return None
    if original.nbytes == work.source.nbytes and original.sha256 is None:
        original = require_same_file(original, work.source)
    if original.sha256 is None and original.xxh3_128 is None:
        return parts_check(bad)
    return work.check(work.file, original)


def _report(work: Work, original: Original, check: Check) -> RepairReport:
    return RepairReport(
        work.file.path,
        work.source.label,
        "intact",
        original.told_by,
        original.nbytes,
        fetched_nbytes=work.tally.nbytes,
        checked=check.how,
        digest=check.got,
    )


def _fault(nbytes: int, original: Original, bad: Sequence[Piece]) -> Fault:
    return Fault(
        ranges=tuple((run.begin, run.end) for run in join(bad)),
        damaged_nbytes=sum(piece.nbytes for piece in bad if piece.end <= nbytes),
        missing_nbytes=sum(piece.nbytes for piece in bad if piece.end > nbytes),
        surplus_nbytes=max(0, nbytes - original.nbytes),
    )


def _require_consent(work: Work, original: Original, fault: Fault) -> None:
    """Refuse what the user must want first: to download everything.

    Raises:
        IntegrityError: `no-piece-digests` or `mostly-damaged`.
    """
    options, path = work.options, visible(work.file.path, 1024)
    if options.full or (options.plans_only and original.is_in_pieces):
        return
    if not original.is_in_pieces:
        raise IntegrityError(
            f"{path}: is damaged by {original.told_by}; no digests of its parts exist, "
            "so what is damaged cannot be found by comparing ranges",
            code="no-piece-digests",
            hint=f"pass --full to download all {original.nbytes:,} bytes, or name the "
            "file's manifest with --against",
        )
    if fault.damaged_nbytes * 2 > original.nbytes and not options.by_parts:
        raise IntegrityError(
            f"{path}: {fault.damaged_nbytes:,} of {original.nbytes:,} bytes are "
            f"damaged, more than half, by {original.told_by}; perhaps it is another "
            "file",
            code="mostly-damaged",
            hint="pass --full to download all of it, or --by-parts to fetch the "
            "damaged parts nevertheless",
        )
