"""The measurements of what proves a checkpoint: verify, hash, parity, audit."""

import os
import shutil
from collections.abc import Callable, Sequence

import merge_runs
import proof_runs as runs
from measures import Bench
from peers import xxh128sum
from proof_runs import Kept
from runs import KRELEASE, lacks
from table import Bound, Figure, seconds, share_of_time, times_faster
from timing import PeerError

PARITY = "parity of two fp16 checkpoints, against cat of both"
AUDIT = "audit, every tensor: against the merge itself"
SAMPLED = "audit --sample"
HASH = "hash, against sha256sum"


def measure_proofs(bench: Bench) -> list[Figure]:
    """Everything that is done with a finished release."""
    folder = bench.material.folder / "kept"
    built = merge_runs.build_folder(bench.material, folder, ["fp16"])
    kept = runs.kept_release(folder, built)
    figures = [
        *measure_verify(bench, kept),
        *measure_identity(bench, kept),
        *unless_missing(bench, kept, "hash", [HASH], measure_hash),
        *unless_missing(bench, kept, "parity", [PARITY], measure_parity),
        *unless_missing(bench, kept, "audit", [AUDIT, SAMPLED], measure_audit),
    ]
    runs.require_damage_is_seen(kept.checkpoint)
    shutil.rmtree(folder)
    return figures


def unless_missing(
    bench: Bench,
    kept: Kept,
    command: str,
    rows: Sequence[str],
    measure: Callable[[Bench, Kept], list[Figure]],
) -> list[Figure]:
    """Measure a command, or say for each of its rows that krelease has none."""
    if reason := lacks(command):
        return [Figure(what, "x", (), missing=reason) for what in rows]
    return measure(bench, kept)


def measure_verify(bench: Bench, kept: Kept) -> list[Figure]:
    """Verify by xxh3, on one thread and on all, against xxh128sum."""
    path = kept.checkpoint
    cores = len(os.sched_getaffinity(0))
    peer, _ = xxh128sum()
    samples = bench.run(
        {
            "xxh128sum": lambda: runs.hash_file(peer, path, kept.xxh3_128),
            "verify": lambda: runs.verify(path, threads=1),
            "verify, inside": lambda: runs.verify_pass(path, threads=1),
            "verify, all cores": lambda: runs.verify(path, threads=cores),
            "verify, all cores, inside": lambda: runs.verify_pass(path, threads=cores),
        }
    )
    for name in ("verify", "verify, all cores"):
        bench.own("verify", samples[name])
    bar, goal = Bound(0.8, at_least=True), Bound(1.0, at_least=True)
    rows = (
        ("verify, one thread: speed, xxh128sum's is 1", "verify", bar, None),
        ("the same without start-up", "verify, inside", bar, None),
        ("verify, all cores: the same", "verify, all cores", None, goal),
        ("the same without start-up", "verify, all cores, inside", None, goal),
    )
    return [
        times_faster(what, samples[name], samples["xxh128sum"], bar=bar, goal=goal)
        for what, name, bar, goal in rows
    ]


def measure_identity(bench: Bench, kept: Kept) -> list[Figure]:
    """Verify by SHA-256, against sha256sum and huggingface_hub's command."""
    path = kept.checkpoint
    samples = bench.run(
        {
            "verify --sha256": lambda: runs.verify_identity(kept.folder),
            "sha256sum": lambda: runs.hash_file(["sha256sum"], path, kept.sha256),
        }
    )
    own = bench.own("verify --sha256", samples["verify --sha256"])
    return [
        share_of_time("verify --sha256, against sha256sum", own, samples["sha256sum"]),
        _beside_hf(bench, kept),
    ]


def _beside_hf(bench: Bench, kept: Kept) -> Figure:
    what = "verify --sha256, against hf cache verify"
    try:
        with runs.stub_hub(kept) as address:
            samples = bench.run(
                {
                    "verify --sha256": lambda: runs.verify_identity(kept.folder),
                    "hf cache verify": lambda: runs.hf_cache_verify(address, kept),
                }
            )
    except PeerError as error:
        return Figure(what, "x", (), missing=error.reason)
    own, theirs = samples.values()
    return share_of_time(what, bench.own("verify --sha256", own, peer=theirs), theirs)


def measure_hash(bench: Bench, kept: Kept) -> list[Figure]:
    """Every digest the field names a file by, against SHA-256 alone."""
    path = kept.checkpoint
    samples = bench.run(
        {
            "krelease hash": lambda: runs.hash_file(
                [KRELEASE, "hash"], path, kept.sha256
            ),
            "sha256sum": lambda: runs.hash_file(["sha256sum"], path, kept.sha256),
        }
    )
    own = bench.own("hash", samples["krelease hash"])
    return [share_of_time(HASH, own, samples["sha256sum"])]


def measure_parity(bench: Bench, kept: Kept) -> list[Figure]:
    """The release against one of its ingredients: no tensor is equal."""
    pair = (kept.checkpoint, bench.material.source)
    samples = bench.run(
        {
            "krelease parity": lambda: runs.parity(*pair),
            "cat": lambda: runs.cat(pair),
        }
    )
    own = bench.own("parity", samples["krelease parity"])
    return [share_of_time(PARITY, own, samples["cat"])]


def measure_audit(bench: Bench, kept: Kept) -> list[Figure]:
    """The release against its recipe: whole, and by sample."""
    material, path = bench.material, kept.checkpoint
    recipe = merge_runs.rev2(material)
    samples = bench.run(
        {
            "krelease audit": lambda: runs.audit(path, recipe),
            "krelease merge": lambda: merge_runs.merge(material, recipe, ["fp16"]),
            "krelease audit --sample": lambda: runs.audit(path, recipe, "--sample"),
        }
    )
    whole = bench.own("audit", samples["krelease audit"])
    sampled = bench.own("audit --sample", samples["krelease audit --sample"])
    merged = samples["krelease merge"]
    return [
        share_of_time(AUDIT, whole, merged, bar=Bound(1.3)),
        seconds(SAMPLED, sampled),
    ]
