"""What the measurements share: each is a few contenders, run in turns, and figures.

They are in `merges`, `conversions`, `proofs` and `full`.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import runs
from peers import Package, Peer
from scratch import Material
from table import Bound, Figure, share_of_time, times_faster
from timing import PeerError, Run, Sample, interleave, peak_nbytes, spawn

MIB = 2**20


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


def beside(
    bench: Bench,
    what: str,
    package: Package,
    *,
    own: Run,
    theirs: Callable[[Path], Sample],
    bar: Bound | None = None,
    goal: Bound | None = None,
) -> Figure:
    """Compare with a peer; if that fails, return a figure that says why.

    Args:
        bench: What the measurements share.
        what: The row of the table; the command is what stands before its comma.
        package: The peer.
        own: A run of krelease.
        theirs: A run of the peer, by the interpreter of its environment.
        bar: On how many times faster krelease is.
        goal: The same.
    """
    peer = bench.peers[package.name]
    absent = Figure(what, "x", (), bar=bar, goal=goal)
    if peer.missing:
        return replace(absent, missing=peer.missing)
    try:
        samples = bench.run(
            {
                f"krelease beside {peer.name}": own,
                peer.name: lambda: theirs(peer.python),
            }
        )
    except PeerError as error:
        return replace(absent, missing=error.reason)
    ours, others = samples.values()
    label = what.partition(",")[0]
    own_samples = bench.own(label, ours, peer=others)
    return times_faster(what, own_samples, others, bar=bar, goal=goal)


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
            (peak.own_nbytes / MIB,),
            peer=f"{peak.peer_nbytes / MIB:.0f} MiB" if peak.peer_nbytes else "",
            bar=Bound(450.0),
            goal=Bound(300.0),
        )
        for label, peak in bench.peaks.items()
    ]
