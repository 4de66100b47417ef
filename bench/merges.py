"""The measurements of `krelease merge` and `build`, and of their pass alone."""

from collections.abc import Sequence
from dataclasses import replace

import merge_runs as runs
from measures import MIB, Bench, beside
from peers import MERGEKIT, SD_MECHA, Peer
from table import Bound, Figure, share_of_time, times_faster
from timing import Run, Sample

TO_CAT = Bound(3.0)
TO_CAT_GOAL = Bound(1.5)
SECOND_VARIANT = Bound(1.5)
SECOND_VARIANT_GOAL = Bound(1.2)

NOTHING_MEASURABLE = Bound(1.1)
"""What two runs of the same command may differ by."""

MIB_OF_INGREDIENT = Bound(16.0)


def measure_merge(bench: Bench) -> list[Figure]:
    """Gamma rev2 to fp16: krelease, sd-mecha, cat and cp; and fp16 + fp8 at once."""
    material = bench.material
    recipe = runs.rev2(material)
    contenders: dict[str, Run] = {
        "krelease merge fp16": lambda: runs.merge(material, recipe, ["fp16"]),
        "cat + cp": lambda: runs.cat_and_cp(recipe),
        "krelease merge fp16 fp8": lambda: runs.merge(
            material, recipe, ["fp16", "fp8"]
        ),
        "krelease build fp16": lambda: runs.build(material, ["fp16"]),
    }
    peer = bench.peers[SD_MECHA.name]
    if not peer.missing:
        python = peer.python
        contenders["sd-mecha"] = lambda: runs.sd_mecha(python, material)
    samples = bench.run(contenders)
    mecha = samples.get("sd-mecha", [])
    one = bench.own("merge, fp16", samples["krelease merge fp16"], peer=mecha)
    two = bench.own("merge, fp16 + fp8", samples["krelease merge fp16 fp8"])
    whole = bench.own("build, fp16", samples["krelease build fp16"])
    return [
        _against_sd_mecha(peer, one, mecha),
        share_of_time(
            "merge to fp16, against cat + cp",
            one,
            samples["cat + cp"],
            bar=TO_CAT,
            goal=TO_CAT_GOAL,
        ),
        share_of_time(
            "merge to fp16 + fp8 in one pass, against fp16 alone",
            two,
            one,
            bar=SECOND_VARIANT,
            goal=SECOND_VARIANT_GOAL,
        ),
        share_of_time(
            "a whole release (card, sums, manifest): build, against merge", whole, one
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


def measure_recipes(bench: Bench) -> list[Figure]:
    """What block weights and further ingredients add, and mergekit on the plain sum."""
    material = bench.material
    plain, blocks = runs.gamma(material), runs.rev2(material)
    with runs.eight(material) as eight:
        samples = bench.run(
            {
                "krelease merge, block weights": lambda: runs.merge(
                    material, blocks, ["fp16"]
                ),
                "krelease merge, none": lambda: runs.merge(material, plain, ["fp16"]),
                "krelease merge of eight": lambda: runs.merge(
                    material, eight, ["fp16"]
                ),
                "cat of eight + cp": lambda: runs.cat_and_cp(eight),
            }
        )
    bench.own("merge, fp16", samples["krelease merge, block weights"])
    four = bench.own("merge without block weights", samples["krelease merge, none"])
    many = bench.own("merge of 8 ingredients", samples["krelease merge of eight"])
    return [
        share_of_time(
            "merge with block weights (nothing measurable), against without",
            samples["krelease merge, block weights"],
            four,
            bar=NOTHING_MEASURABLE,
        ),
        share_of_time(
            "merge of 8 ingredients, against cat of them + cp",
            many,
            samples["cat of eight + cp"],
            bar=TO_CAT,
        ),
        memory_of_ingredient(four, many, n_more=4),
        beside(
            # It takes half a minute at any width, so one run has to do.
            replace(bench, rounds=1, warm_ups=0),
            "merge without block weights, times faster than mergekit",
            MERGEKIT,
            own=lambda: runs.merge(material, plain, ["fp16"]),
            theirs=lambda python: runs.mergekit(python, material),
        ),
    ]


def memory_of_ingredient(
    few: Sequence[Sample], many: Sequence[Sample], *, n_more: int
) -> Figure:
    """Return by how much each of `n_more` further ingredients raises the peak."""
    growth = [
        (upper.peak_nbytes - lower.peak_nbytes) / n_more / MIB
        for lower, upper in zip(few, many, strict=True)
    ]
    return Figure(
        "peak memory: each further ingredient of a merge",
        "MiB",
        tuple(growth),
        bar=MIB_OF_INGREDIENT,
    )


def measure_engine(bench: Bench) -> list[Figure]:
    """The pass alone, without start-up, card and manifest."""
    material = bench.material
    recipe = runs.rev2(material)
    samples = bench.run(
        {
            "engine pass fp16": lambda: runs.engine_pass(material, ["fp16"]),
            "cat + cp": lambda: runs.cat_and_cp(recipe),
            "engine pass fp16 fp8": lambda: runs.engine_pass(material, ["fp16", "fp8"]),
        }
    )
    one = samples["engine pass fp16"]
    return [
        share_of_time(
            "engine's pass alone: fp16, against cat + cp",
            one,
            samples["cat + cp"],
            bar=TO_CAT,
            goal=TO_CAT_GOAL,
        ),
        share_of_time(
            "engine's pass alone: fp16 + fp8, against fp16",
            samples["engine pass fp16 fp8"],
            one,
            bar=SECOND_VARIANT,
            goal=SECOND_VARIANT_GOAL,
        ),
    ]
