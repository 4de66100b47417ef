"""Repairing one file: find what is damaged, then mend it."""

import os
from collections.abc import Sequence
from pathlib import Path

from release.claims.claim import Claim
from release.errors import InputError, IntegrityError, OutputExistsError, visible
from release.formats.input import InputFile
from release.formats.parts import remove_if_stale
from release.progress import Progress
from release.repair.alike import OwnHeader, read_own_header, require_claims_alike
from release.repair.choose import (
    Said,
    find_original,
    locate_by_source,
    require_same_file,
    require_same_tensors,
)
from release.repair.copy import copy_path
from release.repair.damage import Check, parts_check
from release.repair.header import with_fetched_header, with_unknown_header
from release.repair.keep import damaged_path
from release.repair.mend import Mended, mend, plan, still_wrong
from release.repair.pieces import Original, Piece, join
from release.repair.report import Fault, Outcome, RepairOptions, RepairReport
from release.repair.source import RangeSource
from release.repair.work import Work


def repair(
    path: Path,
    source: RangeSource,
    claims: Sequence[Claim],
    options: RepairOptions,
    *,
    from_source: Sequence[Claim] = (),
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
        claims: What the user named, or else what lies beside the file, says about it
            and others, the best first.
        options: What is wanted.
        from_source: What the source's keeper says about its copy; believed last, and
            only where the file's own header does not contradict.
        threads: Worker threads for comparing.
        progress: Where the stages are shown.

    Raises:
        HubError: The server refuses, stumbles, or answers something else.
        InputError: The file cannot be read, is a symlink, or changed meanwhile.
        IntegrityError: `no-digests`, `no-piece-digests`, `different-file`,
            `header-edited`, `mostly-damaged`, `source-bytes`, `source-header` or
            `repaired-bytes`.
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
        work = Work(file, source, options, threads, progress)
        return _repair(work, claims, from_source)


def _repair(
    work: Work, claims: Sequence[Claim], from_source: Sequence[Claim]
) -> RepairReport:
    file, own = work.file, read_own_header(work.file)
    said = Said(claims, from_source, own)
    if not said.is_named:
        require_claims_alike(own, from_source, label=work.source.label)
    original = find_original(file, said, work.source, full=work.options.full)
    if work.options.full and not said.vouches_for(file):
        require_same_tensors(file, own, work.source, fetched=work.tally.add)
    bad = _damage(work, original)
    if original is not None:
        check = _whole_check(work, original, bad)
        if check is not None and check.is_whole:
            file.check_unchanged()
            remove_if_stale(copy_path(file.path))
            return _report(work, original, "intact", Fault(), Mended(0, 0, check))
        if check is not None and not bad:
            _require_another_way(work, original, check)
        original = require_same_file(original, work.source)
    located = _located(work, original, own)
    bad = _damage(work, located, known=original, bad=bad)
    fault = _fault(file.nbytes, located, bad)
    _require_consent(work, located, fault)
    if work.options.plans_only:
        return _report(work, located, "damaged", fault, plan(work, located, bad))
    return _report(work, located, "repaired", fault, mend(work, located, bad))


def _damage(
    work: Work,
    original: Original | None,
    *,
    known: Original | None = None,
    bad: Sequence[Piece] = (),
) -> tuple[Piece, ...]:
    """Return the damaged pieces of `original`; `bad` are those of `known`."""
    if original is None:
        return ()
    looked_at = frozenset(known.pieces if known else ())
    pieces = [piece for piece in original.pieces if piece not in looked_at]
    again = frozenset(bad).intersection(original.pieces)
    if pieces:
        file = work.file
        fresh = work.damage_in(file, file.nbytes, pieces, label="look for damage")
        again = again.union(fresh)
    return tuple(piece for piece in original.pieces if piece in again)


def _require_another_way(work: Work, original: Original, check: Check) -> None:
    """Refuse to fetch nothing and hope: the parts agree, and the whole does not.

    Raises:
        IntegrityError: `repaired-bytes`; `header-edited` where the header has another
            length than that of the source.
    """
    path, source = visible(work.file.path, 1024), work.source
    if work.options.full:
        return
    if not original.begins_behind_header:
        raise still_wrong(path, original, check)
    if original.nbytes != source.nbytes:
        raise IntegrityError(
            f"{path}: is intact by the digests of its tensors; as a whole it is "
            f"another file than {source.label}: {original.nbytes:,} bytes, there "
            f"{source.nbytes:,}; probably another program has edited the header",
            code="header-edited",
            hint="leave it as it is, or pass --full to replace it by that file",
        )


def _located(work: Work, original: Original | None, own: OwnHeader | None) -> Original:
    """Return the original in pieces that cover all of it, if anybody knows them."""
    fetched = work.tally.add
    if original is None or not (original.is_in_pieces or work.options.full):
        return locate_by_source(
            work.file, original, work.source, own=own, fetched=fetched
        )
    if original.begins_behind_header:
        if work.options.full and work.source.takes_whole:
            return with_unknown_header(original)
        return with_fetched_header(original, work.source, fetched=fetched)
    return original


def _whole_check(work: Work, original: Original, bad: Sequence[Piece]) -> Check | None:
    """Compare the whole file, None where that it is damaged is known already."""
    if work.file.nbytes != original.nbytes or (bad and original.is_in_pieces):
        return None
    if original.nbytes == work.source.nbytes and original.sha256 is None:
        original = require_same_file(original, work.source)
    if original.sha256 is None and original.xxh3_128 is None:
        return parts_check(original, bad)
    return work.check(work.file, original)


def _report(
    work: Work, original: Original, outcome: Outcome, fault: Fault, mended: Mended
) -> RepairReport:
    return RepairReport(
        work.file.path,
        work.source.label,
        outcome,
        original.told_by,
        original.nbytes,
        fault=fault,
        to_fetch_nbytes=mended.to_fetch_nbytes,
        fetched_nbytes=work.tally.nbytes,
        n_ranges=mended.n_ranges,
        checked=mended.check.how if mended.check else "",
        digest=mended.check.got if mended.check else "",
        kept=mended.kept,
    )


def _fault(nbytes: int, original: Original, bad: Sequence[Piece]) -> Fault:
    if original.has_unknown_header:
        bad = [piece for piece in bad if piece.digest]
    runs = [(run.begin, run.end) for run in join(bad)]
    if not original.is_in_pieces and len(original.pieces) == 1:
        runs = [(nbytes if begin < nbytes < end else begin, end) for begin, end in runs]
    return Fault(
        ranges=tuple(runs),
        damaged_nbytes=sum(piece.nbytes for piece in bad if piece.end <= nbytes),
        missing_nbytes=sum(
            max(0, piece.end - max(piece.begin, nbytes)) for piece in bad
        ),
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
