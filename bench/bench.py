"""Speed and memory of krelease beside its peers, in one table.

It makes SDXL checkpoints of random values, measures, prints and removes them again.
Ratios are taken between runs that follow each other, with the inputs in the page cache.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType

from conversions import measure_conversions
from full import measure_full_audit, measure_full_conversions
from machine import OtherWork, processor
from measures import Bench, measure_help, memory_figures
from merges import measure_engine, measure_merge, measure_recipes
from peers import (
    CONVERT_TO_QUANT,
    MERGEKIT,
    SD_CPP,
    SD_MECHA,
    Peer,
    prepare,
    sha256sum,
    versions,
    xxh128sum,
)
from proofs import measure_proofs
from report import EIGHTH, FULL, HALF, Machine, notes
from scratch import Material, material, source_alone
from table import Figure, document_of, table_lines
from timing import BenchError

SCHEMA = "krelease.bench/1"
SCRATCH_VARIABLE = "KRELEASE_BENCH_SCRATCH"
OWN = ("krelease", "torch", "safetensors")


def main() -> int:
    """Measure, print, and return the exit code."""
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, _stop)
    measure = measure_full if options.full else measure_all
    mode = FULL if options.full else EIGHTH if options.quick else HALF
    divisor = options.divisor or mode
    rounds = 1 if options.quick else 3
    try:
        machine, figures = measure(divisor, rounds=rounds, place=options.scratch)
    except BenchError as error:
        note(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        note("stopped; the material is removed")
        return 128 + signal.SIGINT
    if options.quick or divisor != mode:
        figures = [replace(figure, bar=None, goal=None) for figure in figures]
    below = notes(mode, on_disk=machine.is_on_disk)
    for line in [*machine.lines(), "", *table_lines(figures), "", below]:
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
        help="at SDXL's full size: conversions (19 GB of memory, or 21 GB of disk and"
        " 14 GB of memory), and an audit by sample (35 GB of disk)",
    )
    parser.add_argument(
        "--divisor",
        type=int,
        metavar="N",
        help="of SDXL's widths, to try the rows out: no bars then",
    )
    wish = os.environ.get(SCRATCH_VARIABLE)
    parser.add_argument(
        "--scratch",
        type=Path,
        metavar="DIR",
        default=Path(wish) if wish else None,
        help=f"folder to work in; or set {SCRATCH_VARIABLE}. If not given: memory, or"
        " where that is too small .bench, with --full the temporary directory",
    )
    return parser


def measure_all(
    divisor: int, *, rounds: int, place: Path | None
) -> tuple[Machine, list[Figure]]:
    """Measure every row but those of the full size.

    Raises:
        BenchError: A run failed, or a result is wrong.
    """
    note("preparing the peers and the checkpoints; the first time, some minutes")
    packages = (SD_MECHA, MERGEKIT, CONVERT_TO_QUANT, SD_CPP)
    peers = {package.name: prepare(package) for package in packages}
    with material(divisor, place=place) as made:
        others = OtherWork()
        machine = _machine(made, rounds, n_checkpoints=len(made.ingredients))
        bench = Bench(made, peers, rounds=rounds, warm_ups=1, note=note)
        figures = [
            *measure_merge(bench),
            *measure_recipes(bench),
            *measure_engine(bench),
            *measure_conversions(bench),
            *measure_proofs(bench),
            *measure_help(bench),
            *memory_figures(bench),
        ]
        machine = replace(
            machine, other_cores=others.cores(), peers=_peer_versions(peers)
        )
    return machine, figures


def measure_full(
    divisor: int, *, rounds: int, place: Path | None
) -> tuple[Machine, list[Figure]]:
    """Measure the rows of the full size.

    Raises:
        BenchError: A run failed, or a result is wrong.
    """
    note("making the checkpoint")
    others = OtherWork()
    with source_alone(divisor, place=place) as made:
        machine = _machine(made, rounds, n_checkpoints=1)
        bench = Bench(made, {}, rounds=rounds, warm_ups=1, note=note)
        figures = measure_full_conversions(bench)
    note("making four checkpoints on a disk, and their merge")
    figures.append(measure_full_audit(bench, place))
    figures += memory_figures(bench)
    return replace(machine, other_cores=others.cores()), figures


def _machine(made: Material, rounds: int, *, n_checkpoints: int) -> Machine:
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        processor=processor(),
        other_cores=0.0,
        place=str(made.folder.parent),
        file_system=made.file_system,
        is_on_disk=made.is_on_disk,
        divisor=made.divisor,
        n_checkpoints=n_checkpoints,
        checkpoint_nbytes=made.source.stat().st_size,
        rounds=rounds,
        own=versions(sys.executable, *OWN),
        peers="the same packages",
    )


def _peer_versions(peers: Mapping[str, Peer]) -> str:
    found = [peer.versions or f"no {peer.name}" for peer in peers.values()]
    hub = versions(sys.executable, "huggingface_hub")
    return "; ".join([*found, xxh128sum()[1], sha256sum(), hub])


def note(line: str) -> None:
    """Say what is being done, beside the table's stream."""
    print(line, file=sys.stderr, flush=True)


def _stop(number: int, frame: FrameType | None) -> None:
    """End as an exception, so that the material is removed."""
    del frame
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
