"""The measurements: each is a few contenders, run in turns, and the figures of them.

Those of conversions are in `conversions`.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import runs
from peers import SD_MECHA, Peer, xxh128sum
from scratch import Material
from table import Bound, Figure, share_of_time, times_faster
from timing import Run, Sample, interleave, peak_nbytes, spawn

_MIB = 2**20


@dataclass(slots=True)
class Peak:
    """The most resident memory of a krelease command, and of what it is beside."""

    own_nbytes: int = 0
    peer_nbytes: int = 0


@dataclass(slots=True)
class Bench:
    """What the measurements share.

    Attributes:
        material: What they work on.
        peers: By package name.
        rounds: Runs that count, of each contender.
        warm_ups: Runs before them that do not.
        note: Told what was measured, run by run.
        peaks: Collects memory by command.
    """

    material: Material
    peers: Mapping[str, Peer]
    rounds: int
    warm_ups: int
    note: Callable[[str], None]
    peaks: dict[str, Peak] = field(default_factory=dict)

    def run(self, contenders: Mapping[str, Run]) -> dict[str, list[Sample]]:
        """Measure contenders in turns."""
        return interleave(
            contenders, rounds=self.rounds, warm_ups=self.warm_ups, note=self.note
        )

    def own(
        self, label: str, samples: Sequence[Sample], *, peer: Sequence[Sample] = ()
    ) -> Sequence[Sample]:
        """Keep the peak memory of a krelease command, and return its samples.

        Args:
            label: The command.
            samples: Its runs.
            peer: Runs of what its memory is compared with.
        """
        peak = self.peaks.setdefault(label, Peak())
        peak.own_nbytes = max(peak.own_nbytes, peak_nbytes(samples))
        if peer:
            peak.peer_nbytes = max(peak.peer_nbytes, peak_nbytes(peer))
        return samples


def measure_merge(bench: Bench) -> list[Figure]:
    """Gamma rev2 to fp16: krelease, sd-mecha, cat and cp; and fp16 + fp8 at once."""
    contenders: dict[str, Run] = {
        "krelease build fp16": lambda: runs.build(bench.material, ["fp16"]),
        "cat + cp": lambda: runs.cat_and_cp(bench.material),
        "krelease build fp16 fp8": lambda: runs.build(bench.material, ["fp16", "fp8"]),
    }
    peer = bench.peers[SD_MECHA.name]
    if not peer.missing:
        python = peer.python
        contenders["sd-mecha"] = lambda: runs.sd_mecha(python, bench.material)
    samples = bench.run(contenders)
    one = bench.own("build, fp16", samples["krelease build fp16"])
    two = bench.own("build, fp16 + fp8", samples["krelease build fp16 fp8"])
    return [
        _against_sd_mecha(peer, one, samples.get("sd-mecha", [])),
        share_of_time(
            "merge to fp16, against cat + cp",
            one,
            samples["cat + cp"],
            bar=Bound(3.0),
            goal=Bound(1.5),
        ),
        share_of_time(
            "fp16 + fp8 in one pass, against fp16 alone",
            two,
            one,
            bar=Bound(1.5),
            goal=Bound(1.2),
        ),
    ]


def _against_sd_mecha(
    peer: Peer, own: Sequence[Sample], theirs: Sequence[Sample]
) -> Figure:
    what = "merge to fp16, times faster than sd-mecha"
    bar, goal = Bound(6.0, at_least=True), Bound(10.0, at_least=True)
    if peer.missing:
        return Figure(what, "x", (), bar=bar, goal=goal, missing=peer.missing)
    return times_faster(what, own, theirs, bar=bar, goal=goal)


def measure_engine(bench: Bench) -> list[Figure]:
    """The pass alone, without start-up, card and manifest."""
    samples = bench.run(
        {
            "engine pass fp16": lambda: runs.engine_pass(bench.material, ["fp16"]),
            "cat + cp": lambda: runs.cat_and_cp(bench.material),
            "engine pass fp16 fp8": lambda: runs.engine_pass(
                bench.material, ["fp16", "fp8"]
            ),
        }
    )
    one = samples["engine pass fp16"]
    return [
        share_of_time(
            "engine's pass alone: fp16, against cat + cp",
            one,
            samples["cat + cp"],
            bar=Bound(3.0),
            goal=Bound(1.5),
        ),
        share_of_time(
            "engine's pass alone: fp16 + fp8, against fp16",
            samples["engine pass fp16 fp8"],
            one,
            bar=Bound(1.5),
            goal=Bound(1.2),
        ),
    ]


def measure_verify(bench: Bench) -> list[Figure]:
    """Verify by xxh3, on one thread and on all, against xxh128sum."""
    folder = bench.material.folder / "kept"
    sample = runs.build_folder(bench.material, folder, ["fp16"])
    (record,) = json.loads(sample.stdout)["checkpoints"]
    path = folder / record["name"]
    cores = len(os.sched_getaffinity(0))
    peer, _ = xxh128sum()
    samples = bench.run(
        {
            "xxh128sum": lambda: runs.hash_file(peer, path, record["xxh3_128"]),
            "verify": lambda: runs.verify(path, threads=1),
            "verify, inside": lambda: runs.verify_pass(path, threads=1),
            "verify, all cores": lambda: runs.verify(path, threads=cores),
            "verify, all cores, inside": lambda: runs.verify_pass(path, threads=cores),
        }
    )
    runs.require_damage_is_seen(path)
    shutil.rmtree(folder)
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


def measure_help(bench: Bench) -> list[Figure]:
    """The time to print the help, beside that of an interpreter that does nothing."""
    samples = interleave(
        {
            "krelease --help": runs.show_help,
            "python -c pass": lambda: spawn([sys.executable, "-c", "pass"]),
        },
        rounds=3 * bench.rounds,
        warm_ups=1,
    )
    own = bench.own("--help", samples["krelease --help"])
    figure = share_of_time("krelease --help", own, samples["python -c pass"])
    values = tuple(1000 * sample.seconds for sample in own)
    return [
        replace(figure, unit="ms", values=values, bar=Bound(150.0), goal=Bound(70.0))
    ]


def memory_figures(bench: Bench) -> list[Figure]:
    """Peak resident memory of every krelease command that was measured."""
    return [
        Figure(
            f"peak memory: krelease {label}",
            "MiB",
            (peak.own_nbytes / _MIB,),
            peer=f"{peak.peer_nbytes / _MIB:.0f} MiB" if peak.peer_nbytes else "",
            bar=Bound(450.0),
            goal=Bound(300.0),
        )
        for label, peak in bench.peaks.items()
    ]
