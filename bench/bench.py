"""Speed and memory of krelease beside its peers, in one table.

It makes SDXL checkpoints of random values, measures, prints and removes them again.
Ratios are taken between runs that follow each other, with the inputs in the page cache.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType

from conversions import measure_conversions
from machine import OtherWork, processor
from measures import (
    Bench,
    measure_engine,
    measure_help,
    measure_merge,
    measure_verify,
    memory_figures,
)
from peers import CONVERT_TO_QUANT, SD_CPP, SD_MECHA, Peer, prepare, versions, xxh128sum
from scratch import material, source_on_disk
from table import Figure, document_of, table_lines
from timing import BenchError

SCHEMA = "krelease.bench/1"
SCRATCH_VARIABLE = "KRELEASE_BENCH_SCRATCH"
FULL, HALF, EIGHTH = 1, 2, 8
WIDTHS = {FULL: "full width", HALF: "half width", EIGHTH: "an eighth of the width"}
"""By divisor. Narrower than half, little but start-up is measured."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What the figures hold for."""

    cores: int
    processor: str
    other_cores: float
    place: str
    file_system: str
    divisor: int
    n_checkpoints: int
    checkpoint_nbytes: int
    rounds: int
    own: str
    peers: str

    def lines(self) -> list[str]:
        """Return the header of the table."""
        count = f"{self.n_checkpoints} x {self.checkpoint_nbytes / 1e9:.2f} GB"
        place = f"{self.place} ({self.file_system})"
        busy = f"other programs used {self.other_cores:.1f} cores meanwhile"
        runs = f"median of {self.rounds}" if self.rounds > 1 else "one run"
        return [
            f"{self.cores} cores, {self.processor}; {busy}",
            f"{count}, fp16, {WIDTHS[self.divisor]} of SDXL, in {place}",
            f"{runs} after a warm-up",
            f"krelease: {self.own}",
            f"peers: {self.peers}",
        ]


NOTES = """\
Times are of whole processes unless a line says otherwise; ranges are over the pairs.
Before each run of a conversion, what was written is on the disk and the source is read
once, so that it lies in the page cache if there is room. krelease ends with its results
on the disk and read back; the scripts and programs beside it end earlier.
load_file + .to + save_file: safetensors and torch, the same tensors cast, no report.\
"""

HALF_NOTES = """\
sd-mecha: float32, its defaults. It counts time and label embedding (8 tensors) to BASE,
krelease's convention to IN00.
cat + cp: all ingredients to /dev/null, and one of them copied.
casts in memory: 32 Mi elements, one thread, the fastest of five; torch's is copy_, and
with allocation what .to does. krelease casts in the engine's chunks, and clamps.
convert-to-quant: --simple and its defaults, which correct biases, too; one run. The
same tensors in fp8. stable-diffusion.cpp: leaves biases and some embeddings in fp32.
convert, verify: one file of the width above; start-up weighs less at full size.\
"""

FULL_NOTES = """\
and sync: the time until the other's result is on the disk as well.\
"""


def main() -> int:
    """Measure, print, and return the exit code."""
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, _stop)
    divisor = FULL if options.full else EIGHTH if options.quick else HALF
    try:
        machine, figures = measure(
            divisor,
            rounds=1 if options.quick else 3,
            place=options.scratch,
            only_conversions=options.full,
        )
    except BenchError as error:
        note(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        note("stopped; the material is removed")
        return 128 + signal.SIGINT
    if options.quick:
        figures = [replace(figure, bar=None, goal=None) for figure in figures]
    more = FULL_NOTES if options.full else HALF_NOTES
    for line in [*machine.lines(), "", *table_lines(figures), "", NOTES, more]:
        print(line)
    if options.json:
        document = {
            "schema": SCHEMA,
            "machine": asdict(machine),
            "figures": [document_of(figure) for figure in figures],
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures too")
    width = parser.add_mutually_exclusive_group()
    width.add_argument(
        "--quick", action="store_true", help="small files, one run, no bars"
    )
    width.add_argument(
        "--full",
        action="store_true",
        help="conversions at SDXL's full size: 30 GB of disk, 14 GB of memory",
    )
    wish = os.environ.get(SCRATCH_VARIABLE)
    parser.add_argument(
        "--scratch",
        type=Path,
        metavar="DIR",
        default=Path(wish) if wish else None,
        help=f"folder to work in; or set {SCRATCH_VARIABLE}. If not given: memory, or"
        " .bench where that is too small; with --full the temporary directory",
    )
    return parser


def measure(
    divisor: int, *, rounds: int, place: Path | None, only_conversions: bool
) -> tuple[Machine, list[Figure]]:
    """Make the material, run everything, and remove it.

    Raises:
        BenchError: A run failed, or a result is wrong.
    """
    note("preparing the peers and the checkpoints; the first time, some minutes")
    packages = () if only_conversions else (SD_MECHA, CONVERT_TO_QUANT, SD_CPP)
    peers = {package.name: prepare(package) for package in packages}
    make = source_on_disk if only_conversions else material
    with make(divisor, place=place) as made:
        others = OtherWork()
        bench = Bench(made, peers, rounds=rounds, warm_ups=1, note=note)
        figures = [*_figures(bench), *memory_figures(bench)]
        machine = Machine(
            cores=len(os.sched_getaffinity(0)),
            processor=processor(),
            other_cores=others.cores(),
            place=str(made.folder.parent),
            file_system=made.file_system,
            divisor=divisor,
            n_checkpoints=1 if only_conversions else len(made.ingredients),
            checkpoint_nbytes=made.source.stat().st_size,
            rounds=rounds,
            own=versions(sys.executable, "krelease", "torch", "safetensors"),
            peers="; ".join(_peer_versions(peers)) or "the same packages",
        )
    return machine, figures


def _figures(bench: Bench) -> Sequence[Figure]:
    if bench.material.only_source:
        return measure_conversions(bench)
    return [
        *measure_merge(bench),
        *measure_engine(bench),
        *measure_conversions(bench),
        *measure_verify(bench),
        *measure_help(bench),
    ]


def _peer_versions(peers: Mapping[str, Peer]) -> list[str]:
    found = [peer.versions or f"no {peer.name}" for peer in peers.values()]
    return [*found, xxh128sum()[1]] if found else []


def note(line: str) -> None:
    """Say what is being done, beside the table's stream."""
    print(line, file=sys.stderr, flush=True)


def _stop(number: int, frame: FrameType | None) -> None:
    """End as an exception, so that the material is removed."""
    del frame
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
