"""What is measured at SDXL's full size, which not everything fits into.

In memory there is room for three checkpoints or so: the conversions go in the order
that needs the least. Four ingredients and their merge need a disk.
"""

from pathlib import Path

import merge_runs
import proof_runs
from conversions import (
    kept_fp8,
    measure_second_variant,
    measure_to_fp8,
    measure_to_fp16,
)
from measures import Bench
from runs import lacks
from scratch import Material, NoRoomError, material_on_disk
from table import Bound, Figure, seconds

AUDIT_SECONDS = Bound(30.0)


def measure_full_conversions(bench: Bench) -> list[Figure]:
    """Convert, beside the usual script. The source is gone at the end."""
    second = measure_second_variant(bench)
    with kept_fp8(bench) as (fp8, names):
        first = measure_to_fp8(bench, fp8, names)
        bench.material.source.unlink()
        back = measure_to_fp16(bench, fp8, names)
    return [*first, *second, *back]


def measure_full_audit(bench: Bench, place: Path | None) -> Figure:
    """Audit by sample, once what it reads lies in the page cache.

    Args:
        bench: Gives rounds and width; its material is not used.
        place: Where to make four ingredients and their merge; on a disk if None.
    """
    what = "audit --sample of rev2"
    if reason := lacks("audit"):
        return Figure(what, "s", (), bar=AUDIT_SECONDS, missing=reason)
    try:
        with material_on_disk(bench.material.divisor, place=place) as made:
            return _audit_figure(bench, made, what)
    except NoRoomError as error:
        return Figure(what, "s", (), bar=AUDIT_SECONDS, missing=error.reason)


def _audit_figure(bench: Bench, made: Material, what: str) -> Figure:
    recipe = merge_runs.rev2(made)
    folder = made.folder / "kept"
    folder.mkdir()
    merge_runs.merge_into(folder, recipe, ["fp16"])
    (path,) = folder.glob("*.safetensors")
    label = "krelease audit --sample"
    samples = bench.run({label: lambda: proof_runs.audit(path, recipe, "--sample")})
    own = bench.own("audit --sample", samples[label])
    read_from = sum(each.stat().st_size for each in [path, *recipe.paths]) / 1e9
    what = f"{what}, out of {read_from:.0f} GB on {made.file_system}"
    return seconds(what, own, bar=AUDIT_SECONDS)
