"""What is inspected: a checkpoint under the names of a single file, where it has them.

A diffusers folder holds the same model under other names; it is looked at as the single
file that it would be. Where that is impossible, its own names have to do.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from release.architecture.diffusers.single_file import single_file_assemblies
from release.architecture.nai import nai_renames
from release.architecture.sdxl import detect
from release.errors import CheckpointError, TensorMismatchError
from release.formats.assembled import AssembledCheckpoint
from release.formats.checkpoint import Checkpoint
from release.formats.diffusers_folder import DiffusersFolder, is_pipeline
from release.formats.folder_files import Schedule
from release.formats.layouts.detect import layout_of
from release.formats.open import open_checkpoint
from release.inspection.facts import stated_prediction
from release.inspection.report import UNREADABLE, LayoutReport, Prediction

_CHANGED: Final = "input-changed"


@dataclass(frozen=True, slots=True)
class Subject:
    """A checkpoint and what depends on how it was opened.

    Attributes:
        checkpoint: Open; its tensors have the names of a single file if possible.
        architecture: As `release.architecture.sdxl.detect` names it.
        layout: How fp8 weights are stored; None where there are none.
        auxiliary: Scales and markers of the layout.
        prediction: What a folder states; None where tensors and metadata say it.
        findings: What the user should know, one line each.
    """

    checkpoint: Checkpoint
    architecture: str
    layout: LayoutReport | None
    auxiliary: frozenset[str]
    prediction: Prediction | None
    findings: tuple[str, ...]


@contextmanager
def open_subject(path: Path) -> Iterator[Subject]:
    """Open what is at `path`; closed at the end.

    Raises:
        CheckpointError: It cannot be read.
    """
    if is_pipeline(path):
        folder = DiffusersFolder(path)
        with folder:
            yield _of_folder(folder)
    else:
        # Nothing of a pickle is run, and what lies beside its weights is not asked for.
        with open_checkpoint(path, stub_globals=True) as checkpoint:
            yield _of_file(checkpoint)


def _of_file(checkpoint: Checkpoint) -> Subject:
    layout, auxiliary, findings = _layout_of(checkpoint)
    return Subject(
        checkpoint=checkpoint,
        architecture=_detected(checkpoint),
        layout=layout,
        auxiliary=auxiliary,
        prediction=None,
        findings=(*findings, *_nai(checkpoint)),
    )


def _of_folder(folder: DiffusersFolder) -> Subject:
    layout, auxiliary, findings = _layout_of(folder)
    checkpoint: Checkpoint = folder
    try:
        architecture, assemblies = single_file_assemblies(
            folder.tensors, path=folder.path
        )
        checkpoint = AssembledCheckpoint(folder, assemblies)
    except TensorMismatchError as error:
        architecture = "unknown"
        findings = (*findings, f"{error.code}: {error.reason}")
    return Subject(
        checkpoint=checkpoint,
        architecture=architecture,
        layout=layout,
        auxiliary=auxiliary,
        prediction=_scheduled(folder.schedule),
        findings=findings,
    )


def _scheduled(schedule: Schedule) -> Prediction | None:
    kind = stated_prediction(schedule.prediction_type)
    if not kind:
        return None
    return Prediction(kind, "the scheduler", schedule.zero_terminal_snr)


def _detected(checkpoint: Checkpoint) -> str:
    return detect({name: each.shape for name, each in checkpoint.tensors.items()})


def _nai(checkpoint: Checkpoint) -> tuple[str, ...]:
    try:
        renames = nai_renames(checkpoint.tensors, path=checkpoint.path)
    except TensorMismatchError as error:
        return (f"{error.code}: {error.reason}",)
    if not renames:
        return ()
    return (f"nai-names: {len(renames):,} of the text encoder lack text_model.",)


def _layout_of(
    checkpoint: Checkpoint,
) -> tuple[LayoutReport | None, frozenset[str], tuple[str, ...]]:
    """Return the layout, its scales and markers, and what to know about it.

    One that cannot be read is a finding, not an error: it is what the file is.
    """
    try:
        layout = layout_of(checkpoint)
    except CheckpointError as error:
        if error.code == _CHANGED:
            raise
        report = LayoutReport(UNREADABLE, error.reason)
        return report, frozenset(), (f"{error.code}: {error.reason}",)
    if not layout.has_fp8:
        return None, frozenset(), layout.warnings
    report = LayoutReport(layout.name, layout.title)
    return report, layout.auxiliary, layout.warnings
