"""What the engine measured, as the manifest keeps it."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, Literal

from release.architecture.contents import part_of
from release.architecture.sdxl import component_of
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
from release.metadata import SHA256_SUMS_NAME, XXH128_SUMS_NAME
from release.numeric.digest import CHUNK_NBYTES, Sha256, Xxh3Bits128
from release.recipe.blocks import block_of
from release.recipe.rows import FoldedRecipe

NOT_MEASURED: Final = 32 * "0"
"""What stands for a digest of 32 hex digits before there is one."""


def checkpoint_record(report: OutputReport, *, architecture: str) -> CheckpointRecord:
    """Return the record of a finished checkpoint of a release."""
    if report.seal.sha256 is None:
        raise AssertionError("a release's checkpoints are made with their SHA-256")
    fields = dict(measured_record(report, architecture=architecture))
    return CheckpointRecord(sha256=report.seal.sha256, **fields)


def planned_record(plan: OutputPlan, *, architecture: str) -> CheckpointRecord:
    """Return the record of a checkpoint that is to be made, nothing of it measured."""
    names = [entry.name for entry in plan.entries]
    nothing = {name: Deviation() for name in names}
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
        blocks=_blocks(nothing, architecture, str),
        chunk_nbytes=CHUNK_NBYTES,
        chunks="",
        tensors=_tensor_records(plan, dict.fromkeys(names, NOT_MEASURED)),
    )


def measured_record(
    report: OutputReport,
    *,
    architecture: str,
    single_file_name: Callable[[str], str] = str,
) -> MeasuredRecord:
    """Return the record of a finished checkpoint.

    Args:
        report: What was found.
        architecture: As `release.architecture.sdxl.detect` names it.
        single_file_name: Name of a tensor -> its name in the single-file layout.
    """
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
        blocks=_blocks(report.tensors, architecture, single_file_name),
        chunk_nbytes=CHUNK_NBYTES,
        chunks=seal.chunks,
        tensors=_tensor_records(plan, report.tensor_digests),
    )


def _blocks(
    tensors: Mapping[str, Deviation],
    architecture: str,
    single_file_name: Callable[[str], str],
) -> dict[str, dict[str, ParityRecord]]:
    """Return component -> block -> figures; each block's tensors added by name."""
    found: dict[str, dict[str, list[Deviation]]] = {}
    for name in sorted(tensors):
        known = single_file_name(name)
        blocks = found.setdefault(component_of(known).value, {})
        block = block_of(known, part_of(known), architecture)
        blocks.setdefault(block, []).append(tensors[name])
    return {
        component: {
            block: parity_record(Deviation.total(parts))
            for block, parts in blocks.items()
        }
        for component, blocks in found.items()
    }


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


def sums_texts(records: Iterable[CheckpointRecord | FileRecord]) -> dict[str, str]:
    """Return the lists that `xxh128sum -c` and `sha256sum -c` read: name -> text."""
    of = sorted(records, key=lambda record: record.name)
    return {
        XXH128_SUMS_NAME: "".join(f"{each.xxh3_128}  {each.name}\n" for each in of),
        SHA256_SUMS_NAME: "".join(f"{each.sha256}  {each.name}\n" for each in of),
    }


def sums_nbytes(names: Iterable[str], digits: int) -> int:
    """Return the size of such a list, of digests of so many hex digits."""
    return sum(digits + 2 + len(name.encode()) + 1 for name in names)
