"""Speed and memory of krelease beside its peers, in one table.

It makes half-width SDXL ingredients, measures, prints and removes them again. Ratios
are taken between runs that follow each other, with the page cache warm.
"""

import argparse
import json
import os
import signal
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType

from machine import OtherWork, processor
from measures import (
    Bench,
    measure_convert,
    measure_engine,
    measure_help,
    measure_merge,
    measure_verify,
    memory_figures,
)
from peers import prepare_sd_mecha, versions, xxh128sum
from scratch import material
from table import Figure, document_of, table_lines
from timing import BenchError

SCHEMA = "krelease.bench/1"
WIDTHS = {2: "half", 8: "an eighth of the"}
"""Of SDXL, by divisor. The bars are meant for half width; narrower is start-up only."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What the figures hold for."""

    cores: int
    processor: str
    other_cores: float
    place: str
    divisor: int
    ingredient_nbytes: int
    rounds: int
    own: str
    peers: str

    def lines(self) -> list[str]:
        """Return the header of the table."""
        width = f"{WIDTHS[self.divisor]} width"
        size = f"{self.ingredient_nbytes / 1e9:.2f} GB"
        busy = f"other programs used {self.other_cores:.1f} cores meanwhile"
        runs = f"median of {self.rounds}" if self.rounds > 1 else "one run"
        return [
            f"{self.cores} cores, {self.processor}; {busy}",
            f"4 ingredients of {width}, {size} each, in {self.place}",
            f"{runs} after a warm-up",
            f"krelease: {self.own}",
            f"peers: {self.peers}",
        ]


NOTES = """\
Times are of whole processes unless a line says otherwise; ranges are over the pairs.
sd-mecha: float32, its defaults. It counts time and label embedding (8 tensors) to BASE,
krelease's convention to IN00.
cat + cp: all ingredients to /dev/null, and one of them copied.
convert, verify: one file of the width above; start-up weighs less at full size.\
"""


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures too")
    parser.add_argument(
        "--quick", action="store_true", help="small files, one run, no bars"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _stop)
    divisor, rounds = (8, 1) if options.quick else (2, 3)
    try:
        machine, figures = measure(divisor, rounds)
    except BenchError as error:
        note(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        note("stopped; the material is removed")
        return 128 + signal.SIGINT
    if options.quick:
        figures = [replace(figure, bar=None, goal=None) for figure in figures]
    for line in [*machine.lines(), "", *table_lines(figures), "", NOTES]:
        print(line)
    if options.json:
        document = {
            "schema": SCHEMA,
            "machine": asdict(machine),
            "figures": [document_of(figure) for figure in figures],
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def measure(divisor: int, rounds: int) -> tuple[Machine, list[Figure]]:
    """Make the material, run everything, and remove it.

    Raises:
        BenchError: A run failed, or a result is wrong.
    """
    note("preparing sd-mecha and the ingredients")
    sd_mecha = prepare_sd_mecha()
    with material(divisor) as made:
        others = OtherWork()
        bench = Bench(made, sd_mecha, rounds=rounds, warm_ups=1, note=note)
        figures = [
            *measure_merge(bench),
            *measure_engine(bench),
            *measure_convert(bench),
            *measure_verify(bench),
            *measure_help(bench),
            *memory_figures(bench),
        ]
        machine = Machine(
            cores=len(os.sched_getaffinity(0)),
            processor=processor(),
            other_cores=others.cores(),
            place=str(made.folder.parent),
            divisor=divisor,
            ingredient_nbytes=made.ingredients["beta7"].stat().st_size,
            rounds=rounds,
            own=versions(sys.executable, "krelease", "torch"),
            peers=f"{sd_mecha.versions or 'no sd-mecha'}; {xxh128sum()[1]}",
        )
    return machine, figures


def note(line: str) -> None:
    """Say what is being done, beside the table's stream."""
    print(line, file=sys.stderr, flush=True)


def _stop(number: int, frame: FrameType | None) -> None:
    """End as an exception, so that the material is removed."""
    del frame
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
