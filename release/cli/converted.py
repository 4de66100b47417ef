"""How a conversion is shown: before it is done, and after."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from release.errors import visible
from release.numeric.size import size_text

if TYPE_CHECKING:
    from release.convert.losses import ComponentLoss, Converted, VariantLoss
    from release.convert.plan import ConvertPlan, VariantPlan
    from release.engine.results import Deviation

_PATH_LENGTH_MAX: Final = 4096
"""Linux has no longer paths."""


def written_paths(plan: "ConvertPlan", folder: Path) -> list[str]:
    """Return the paths of the checkpoints, for `--quiet`."""
    return [_shown(folder / output.name) for output in plan.passes.outputs]


def plan_document(plan: "ConvertPlan", folder: Path) -> dict[str, object]:
    """Return what will be written, for scripts; every tensor of every variant."""
    from release.formats.space import free_bytes, room_for

    return {
        **_source_document(plan),
        "variants": [
            {
                "variant": variant.preset.name,
                "files": [
                    {
                        "path": str(folder / output.name),
                        "nbytes": output.nbytes,
                        "exists": (folder / output.name).exists(),
                    }
                    for output in plan.passes.outputs
                    if output.name in {part.name for part in variant.files.parts}
                ],
                "tensors": {
                    name: {
                        "dtype": each.dtype.code,
                        "scaled": each.scaled,
                        "nbytes": variant.nbytes[name],
                        "reason": each.reason,
                    }
                    for name, each in variant.assignments.items()
                },
                "kept": list(variant.kept),
                **_beside(variant, folder),
                "notes": list(variant.notes),
                "warnings": list(variant.warnings),
            }
            for variant in plan.variants
        ],
        "needed_nbytes": room_for(plan.passes.write_nbytes),
        "free_nbytes": free_bytes(folder),
    }


def plan_text(plan: "ConvertPlan", folder: Path) -> list[str]:
    """Return what will be written, for people: files, dtypes, reasons, room."""
    from release.console import columns
    from release.formats.space import free_bytes, room_for

    text = []
    for variant in plan.variants:
        names = {part.name for part in variant.files.parts}
        outputs = [each for each in plan.passes.outputs if each.name in names]
        text += columns(
            [
                [
                    _shown(folder / output.name),
                    f"{output.nbytes:,} bytes",
                    size_text(output.nbytes),
                ]
                for output in outputs
            ],
            right=[1, 2],
        )
        text += [f"  {line}" for line in _reasons(plan, variant)]
    needed, free = room_for(plan.passes.write_nbytes), free_bytes(folder)
    fits = "" if needed <= free else ": does not fit"
    text.append(f"Disk: needs {size_text(needed)}, {size_text(free)} free{fits}")
    text += [
        f"Note: {_shown(folder / name)} already exists; pass --force to replace it"
        for variant in plan.variants
        for name in variant.files.names
        if (folder / name).exists()
    ]
    return text


def result_document(
    plan: "ConvertPlan", converted: Sequence["Converted"], folder: Path, *, source: str
) -> dict[str, object]:
    """Return what was written and lost, for scripts; the rest is in the records."""
    from release.numeric.digest import autov2
    from release.records import count_dtypes

    return {
        "source": source,
        **_source_document(plan),
        "variants": [
            {
                "variant": each.plan.preset.name,
                "files": [
                    {
                        "path": str(folder / part.plan.name),
                        "nbytes": part.plan.nbytes,
                        "dtypes": count_dtypes(part.plan.entries),
                        "xxh3_128": part.seal.xxh3_128,
                        "data_sha256": part.seal.data_sha256,
                        "sha256": part.seal.sha256,
                        "autov2": part.seal.sha256 and autov2(part.seal.sha256),
                    }
                    for part in each.parts
                ],
                "kept": list(each.plan.kept),
                **_beside(each.plan, folder),
                **_loss_document(each.loss),
            }
            for each in converted
        ],
    }


def result_text(converted: Sequence["Converted"], folder: Path) -> list[str]:
    """Return what was written and lost, for people."""
    from release.console import columns

    text: list[str] = []
    for each in converted:
        text += columns(
            [
                [_shown(folder / part.plan.name), size_text(part.plan.nbytes)]
                for part in each.parts
            ],
            right=[1],
        )
        text += [
            f"  sha256  {part.seal.sha256}" for part in each.parts if part.seal.sha256
        ]
        text += [f"  {line}" for line in _loss_text(each.loss)]
        text.append(f"  record  {_shown(folder / each.plan.files.record_name)}")
    return text


def _shown(path: Path) -> str:
    return visible(path, _PATH_LENGTH_MAX)


def _beside(variant: "VariantPlan", folder: Path) -> dict[str, object]:
    """Return the paths of what goes beside the files of weights."""
    return {
        "indexes": [str(folder / name) for name in variant.files.indexes],
        "record": str(folder / variant.files.record_name),
    }


def _source_document(plan: "ConvertPlan") -> dict[str, object]:
    return {
        "architecture": plan.source.architecture,
        "layout": plan.source.layout.name,
        "notes": list(plan.material.notes),
        "warnings": list(plan.material.warnings),
        "dropped_metadata": {
            each.key: each.reason.value for each in plan.material.dropped
        },
    }


def _reasons(plan: "ConvertPlan", variant: "VariantPlan") -> list[str]:
    from release.architecture.sdxl import component_of
    from release.console import columns

    found: Counter[tuple[str, str, str, str]] = Counter()
    nbytes: Counter[tuple[str, str, str, str]] = Counter()
    tensors = plan.source.checkpoint.tensors
    for name, each in variant.assignments.items():
        row = (
            component_of(plan.source.single_file_name(name)).value,
            tensors[name].dtype.code,
            each.dtype.code + (" scaled" if each.scaled else ""),
            each.reason,
        )
        found[row] += 1
        nbytes[row] += variant.nbytes[name]
    return columns(
        [
            [
                component,
                f"{count:,}",
                before,
                "->",
                after,
                size_text(nbytes[component, before, after, reason]),
                reason,
            ]
            for (component, before, after, reason), count in sorted(found.items())
        ],
        right=[1, 5],
    )


def _loss_text(loss: "VariantLoss") -> list[str]:
    from release.console import columns

    head = ["", "before", "after", "cast to", "tensors", "SNR dB", "typical"]
    head += ["max error", "to zero", "clamped"]
    rows = [row for each in (*loss.components, loss.total) for row in _loss_rows(each)]
    text = columns([head, *rows], right=[1, 2, *range(4, len(head))])
    if loss.worst:
        text.append("worst")
        text += columns(
            [
                [
                    f"  {visible(each.name)}",
                    each.dtype.code + (" scaled" if each.scaled else ""),
                    f"{each.deviation.snr_db} dB",
                    f"max error {each.deviation.max_abs_error:.3g}",
                    f"{_flushed(each.deviation)} to zero",
                ]
                for each in loss.worst
            ]
        )
    text.append(
        f"weights in memory  about {size_text(loss.total.nbytes_after)}, where a "
        "program keeps them as they are stored"
    )
    return text


def _loss_rows(loss: "ComponentLoss") -> list[list[str]]:
    """Return a row for each dtype that something was cast to; sizes in the first."""
    sizes = [
        loss.component,
        size_text(loss.nbytes_before),
        size_text(loss.nbytes_after),
    ]
    if not loss.cast:
        return [[*sizes, "nothing", "", "", "", "", "", ""]]
    rows = []
    for dtype, deviation in loss.cast.items():
        rows.append(
            [
                *sizes,
                dtype.code,
                f"{deviation.n_tensors:,}",
                "exact" if deviation.snr_db == "inf" else deviation.snr_db,
                f"{dtype.typical_snr_db or 0.0:.1f}",
                f"{deviation.max_abs_error:.3g}",
                _flushed(deviation),
                f"{deviation.clamped:,}",
            ]
        )
        sizes = ["", "", ""]
    return rows


def _flushed(deviation: "Deviation") -> str:
    if not deviation.flushed:
        return "0"
    percent = 100 * deviation.flushed / deviation.n_elements
    return "100 %" if percent >= 99.5 else f"{percent:.2g} %"


def _loss_document(loss: "VariantLoss") -> dict[str, object]:
    from release.records import parity_record

    def figures(each: "ComponentLoss") -> dict[str, object]:
        return {
            "nbytes_before": each.nbytes_before,
            "nbytes_after": each.nbytes_after,
            "cast": {
                dtype.code: {
                    "typical_db": dtype.typical_snr_db,
                    **parity_record(deviation).model_dump(mode="json"),
                }
                for dtype, deviation in each.cast.items()
            },
        }

    return {
        "total": figures(loss.total),
        "components": {each.component: figures(each) for each in loss.components},
        "worst": [
            {
                "name": each.name,
                "dtype": each.dtype.code,
                "scaled": each.scaled,
                **parity_record(each.deviation).model_dump(mode="json"),
            }
            for each in loss.worst
        ],
    }


def loss_warnings(converted: Sequence["Converted"]) -> list[str]:
    """Return what of the losses should not be overlooked, one line each."""
    found = []
    for each in converted:
        for dtype, deviation in each.loss.total.cast.items():
            if deviation.clamped:
                found.append(
                    f"{each.plan.preset.name}: {deviation.clamped:,} values were too "
                    f"large for {dtype.code} and were set to its largest"
                )
            if deviation.flushed and deviation.flushed == deviation.n_elements:
                found.append(
                    f"{each.plan.preset.name}: every value became zero in {dtype.code}"
                )
    return found
