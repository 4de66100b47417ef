"""What the engine measured, as the manifest keeps it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Literal

from release.definition import Definition
from release.engine.plan import OutputPlan
from release.engine.results import Deviation, OutputReport
from release.formats.header import TensorEntry
from release.formats.input import InputFile
from release.formats.scan import scan
from release.manifest import (
    CheckpointRecord,
    FileRecord,
    MeasuredRecord,
    ParityRecord,
    RecipeRecord,
    TensorRecord,
)
from release.numeric.digest import CHUNK_NBYTES, Sha256, Xxh3Bits128
from release.recipe.rows import FoldedRecipe

NOT_MEASURED: Final = 32 * "0"
"""What stands for a digest of 32 hex digits before there is one."""


def checkpoint_record(report: OutputReport) -> CheckpointRecord:
    """Return the record of a finished checkpoint of a release."""
    if report.seal.sha256 is None:
        raise AssertionError("a release's checkpoints are made with their SHA-256")
    fields = dict(measured_record(report))
    return CheckpointRecord(sha256=report.seal.sha256, **fields)


def planned_record(plan: OutputPlan) -> CheckpointRecord:
    """Return the record of a checkpoint that is to be made, nothing of it measured."""
    names = [entry.name for entry in plan.entries]
    return CheckpointRecord(
        name=plan.name,
        variant=plan.variant,
        nbytes=plan.nbytes,
        xxh3_128=NOT_MEASURED,
        sha256=2 * NOT_MEASURED,
        data_sha256=2 * NOT_MEASURED,
        header_nbytes=plan.header_nbytes,
        header_xxh3_128=NOT_MEASURED,
        tensor_set_xxh3_128=NOT_MEASURED,
        dtypes=count_dtypes(plan.entries),
        parity=parity_record(Deviation()),
        components={},
        chunk_nbytes=CHUNK_NBYTES,
        chunks="",
        tensors=_tensor_records(plan, dict.fromkeys(names, NOT_MEASURED)),
    )


def measured_record(report: OutputReport) -> MeasuredRecord:
    """Return the record of a finished checkpoint."""
    plan, seal = report.plan, report.seal
    return MeasuredRecord(
        name=plan.name,
        variant=plan.variant,
        nbytes=plan.nbytes,
        xxh3_128=seal.xxh3_128,
        data_sha256=seal.data_sha256,
        header_nbytes=plan.header_nbytes,
        header_xxh3_128=seal.header_xxh3_128,
        tensor_set_xxh3_128=report.tensor_set_xxh3_128,
        dtypes=count_dtypes(plan.entries),
        parity=parity_record(report.deviation),
        components={
            name: parity_record(part) for name, part in report.components.items()
        },
        chunk_nbytes=CHUNK_NBYTES,
        chunks=seal.chunks,
        tensors=_tensor_records(plan, report.tensor_digests),
    )


def _tensor_records(
    plan: OutputPlan, digests: Mapping[str, str]
) -> tuple[TensorRecord, ...]:
    return tuple(
        TensorRecord(
            name=entry.name,
            dtype=entry.dtype.code,
            shape=entry.shape,
            offset=plan.header_nbytes + entry.begin,
            nbytes=entry.nbytes,
            xxh3_128=digests[entry.name],
        )
        for entry in plan.entries
    )


def recipe_record(definition: Definition, recipe: FoldedRecipe) -> RecipeRecord:
    """Return the record of a definition's recipe, which `recipe` is folded from."""
    stated = definition.recipe
    return RecipeRecord(
        canonical=recipe.canonical(),
        sha256=recipe.sha256(),
        convention=stated.convention,
        output=stated.output,
        steps=dict(stated.steps),
        rows=recipe.decimal_rows(),
    )


def parity_record(deviation: Deviation) -> ParityRecord:
    """Return figures as decimal text."""
    return ParityRecord(
        n_tensors=deviation.n_tensors,
        n_elements=deviation.n_elements,
        max_abs_error=f"{deviation.max_abs_error:.4g}",
        snr_db=deviation.snr_db,
        clamped=deviation.clamped,
        flushed=deviation.flushed,
    )


def count_dtypes(entries: Iterable[TensorEntry]) -> dict[str, int]:
    """Return how many tensors there are of each dtype."""
    return dict(sorted(Counter(entry.dtype.code for entry in entries).items()))


def file_record(
    path: Path,
    role: Literal["archive", "card", "licence", "picture", "sums"],
    *,
    members: tuple[str, ...] = (),
) -> FileRecord:
    """Read a finished file of the release folder and return its record."""
    whole, identity = Xxh3Bits128(), Sha256()
    with InputFile(path) as file:
        scan(file, 0, file.nbytes, whole, identity)
        nbytes = file.nbytes
    return FileRecord(
        name=path.name,
        role=role,
        nbytes=nbytes,
        xxh3_128=whole.hexdigest(),
        sha256=identity.hexdigest(),
        members=members,
    )
