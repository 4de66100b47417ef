"""The measurements of `krelease convert`, beside scripts and programs that do the same.

Where the files lie on a disk, the time until results are stored is compared as well.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import convert_runs as runs
from measures import Bench, beside
from peers import CONVERT_TO_QUANT, SD_CPP
from scratch import make_stand_ins
from table import Bound, Figure, share_of_time, times_faster
from timing import BenchError, Sample

FOUR_TIMES = Bound(4.0, at_least=True)


def measure_conversions(bench: Bench) -> list[Figure]:
    """Everything about convert that is measured at half width."""
    with kept_fp8(bench) as (fp8, names):
        figures = [
            *measure_to_fp8(bench, fp8, names),
            *measure_second_variant(bench),
            *measure_to_fp16(bench, fp8, names),
        ]
    return [*figures, *measure_casts(bench), *measure_beside_peers(bench)]


@contextmanager
def kept_fp8(bench: Bench) -> Iterator[tuple[Path, Path]]:
    """Give the source's fp8 variant, and a list of the tensors that were cast."""
    folder = bench.material.folder / "kept"
    runs.convert_into(folder, bench.material.source, ["fp8"])
    fp8 = runs.result_of(folder, "fp8")
    yield fp8, runs.write_names(folder / "cast.json", fp8)
    shutil.rmtree(folder)


def measure_to_fp8(bench: Bench, fp8: Path, names: Path) -> list[Figure]:
    """One fp16 checkpoint to fp8, against loading, casting and saving it whole.

    Args:
        bench: What the measurements share.
        fp8: The result, made before; it is what `cp` copies.
        names: The tensors that are cast.
    """
    source = bench.material.source
    samples = bench.run(
        {
            "krelease convert to fp8": lambda: runs.convert(source, ["fp8"]),
            "load + to + save": lambda: runs.load_cast_save(source, "F8_E4M3", names),
            "cp": lambda: runs.copy(fp8),
        }
    )
    script, copied = samples["load + to + save"], samples["cp"]
    own = bench.own("convert to fp8", samples["krelease convert to fp8"], peer=script)
    figures = [
        share_of_time(
            "convert fp16 to fp8, against load_file + .to + save_file",
            own,
            script,
            bar=Bound(0.4),
            goal=Bound(0.25),
        ),
        share_of_time("convert fp16 to fp8, against cp of the result", own, copied),
    ]
    if bench.material.is_on_disk:
        figures += [
            share_of_time(
                "convert fp16 to fp8, against the script and sync",
                own,
                _until_stored(script),
            ),
            share_of_time(
                "convert fp16 to fp8, against cp and sync", own, _until_stored(copied)
            ),
        ]
    return figures


def measure_second_variant(bench: Bench) -> list[Figure]:
    """What a second `--to` adds: whole process, and the pass alone."""
    source = bench.material.source
    both = ["fp8", "fp16"]
    samples = bench.run(
        {
            "krelease convert to fp8": lambda: runs.convert(source, ["fp8"]),
            "krelease convert to fp8 fp16": lambda: runs.convert(source, both),
        }
    )
    passes = bench.run(
        {
            "convert's pass fp8": lambda: runs.convert_pass(source, ["fp8"]),
            "convert's pass fp8 fp16": lambda: runs.convert_pass(source, both),
        }
    )
    return [
        share_of_time(
            "convert to fp8 + fp16, against fp8 alone",
            bench.own("convert to fp8 + fp16", samples["krelease convert to fp8 fp16"]),
            bench.own("convert to fp8", samples["krelease convert to fp8"]),
            bar=Bound(1.5),
        ),
        share_of_time(
            "convert's pass alone: the same",
            passes["convert's pass fp8 fp16"],
            passes["convert's pass fp8"],
            bar=Bound(1.5),
        ),
    ]


def measure_to_fp16(bench: Bench, fp8: Path, names: Path) -> list[Figure]:
    """An fp8 checkpoint to fp16, against loading, casting and saving it whole."""
    samples = bench.run(
        {
            "krelease convert fp8 to fp16": lambda: runs.convert(fp8, ["fp16"]),
            "load + to + save": lambda: runs.load_cast_save(fp8, "F16", names),
        }
    )
    script = samples["load + to + save"]
    own = samples["krelease convert fp8 to fp16"]
    figure = times_faster(
        "convert fp8 to fp16, times faster than load_file + .to + save_file",
        bench.own("convert fp8 to fp16", own, peer=script),
        script,
        bar=FOUR_TIMES,
    )
    return [figure]


@dataclass(frozen=True, slots=True)
class Cast:
    """A cast between two dtypes, in memory that is reused or new."""

    what: str
    memory: str
    before: str
    after: str
    bar: Bound | None = None


CASTS = (
    Cast("fp8 to fp16", "reused", "F8_E4M3", "F16", FOUR_TIMES),
    Cast("fp8 to fp16 allocated anew", "new", "F8_E4M3", "F16"),
    Cast("fp16 to fp8", "reused", "F16", "F8_E4M3"),
)


def measure_casts(bench: Bench) -> list[Figure]:
    """The casts alone, in memory, on one thread each, against torch's."""
    return [_cast_figure(bench, cast) for cast in CASTS]


def _cast_figure(bench: Bench, cast: Cast) -> Figure:
    def run(way: str) -> Callable[[], Sample]:
        return lambda: runs.cast(way, cast.memory, cast.before, cast.after)

    samples = bench.run(
        {
            f"cast {cast.what}": run("krelease"),
            f"torch's cast {cast.what}": run("torch"),
        }
    )
    own, peer = samples.values()
    if len({sample.stdout for sample in [*own, *peer]}) != 1:
        raise BenchError(f"cast {cast.what}: torch's result is another one")
    what = f"cast in memory, {cast.what}: times faster than torch's"
    return times_faster(what, own, peer, bar=cast.bar)


def measure_beside_peers(bench: Bench) -> list[Figure]:
    """Programs that do about the same; those that cannot be had are left out."""
    source = bench.material.source
    wide = source.with_name("wide.safetensors")
    make_stand_ins(wide.parent, bench.material.divisor, [wide.stem], "F32")
    figures = [
        beside(
            # It takes a minute at any width, so one run has to do.
            replace(bench, rounds=1, warm_ups=0),
            "convert fp16 to fp8-scaled, times faster than convert-to-quant",
            CONVERT_TO_QUANT,
            own=lambda: runs.convert(source, ["fp8-scaled"]),
            theirs=lambda python: runs.convert_to_quant(python, source),
        ),
        beside(
            bench,
            "convert fp32 to fp16, times faster than stable-diffusion.cpp",
            SD_CPP,
            own=lambda: runs.convert(wide, ["fp16"]),
            theirs=lambda python: runs.sd_cpp(python, wide),
        ),
    ]
    wide.unlink()
    return figures


def _until_stored(samples: Sequence[Sample]) -> list[Sample]:
    return [sample.until_stored() for sample in samples]
