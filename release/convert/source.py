"""What the user named, as one checkpoint whose tensors can be converted.

Files, shards and folders, pickles, EMA weights and old names: after this module there
are tensors under the names that programs look for, and the layout of their values.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from release.architecture.diffusers.forms import FORMS
from release.architecture.diffusers.single_file import (
    folder_architecture,
    prediction_markers,
    single_file_assemblies,
    single_file_name,
)
from release.architecture.ema import EmaMode, ema_plan
from release.architecture.nai import nai_renames
from release.architecture.sdxl import detect
from release.errors import (
    CheckpointError,
    ShapeError,
    TensorMismatchError,
    first_names,
    visible,
)
from release.formats.assembled import AssembledCheckpoint, Assembly
from release.formats.checkpoint import Checkpoint
from release.formats.diffusers_folder import DiffusersFolder, is_pipeline
from release.formats.folder_files import INDEX_NAME
from release.formats.layouts.detect import layout_of
from release.formats.layouts.kinds import Layout
from release.formats.open import open_checkpoint

_ENDINGS: Final = re.compile(
    r"(-\d{5}-of-\d{5})?\.(safetensors(\.index(\.\w+)?\.json)?|sft|ckpt|pth?|bin)$",
    re.IGNORECASE,
)
_COMPONENT_PREFIXES: Final = {
    "unet": "model.diffusion_model.",
    "vae": "first_stage_model.",
    "text_encoder": "cond_stage_model.transformer.",
    "text_encoder_2": "conditioner.embedders.1.model.",
}
"""What tells the parts of a single file, for tensors that single files do not have."""


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How to read what the user named.

    Attributes:
        keeps_layout: A diffusers folder stays one, under its own tensor names.
        folder_variant: Which files of a diffusers folder; None for the only ones.
        ema: What becomes of EMA weights.
        assumes_scaled: Scales that nothing explains are multipliers.
        stubs_globals: Training objects beside the weights of a pickle are skipped.
    """

    keeps_layout: bool = False
    folder_variant: str | None = None
    ema: EmaMode = EmaMode.DROP
    assumes_scaled: bool = False
    stubs_globals: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint that is ready to be converted.

    Attributes:
        stem: What names of outputs begin with.
        checkpoint: Its tensors have the names that are written.
        layout: How its fp8 weights are to be read.
        architecture: As `release.architecture.sdxl.detect` names it.
        single_file_names: Name -> what the tensor is called in a single file, for names
            of which that is not the same.
        folder: The diffusers folder, if its layout is kept.
        notes: What was found and done, one line each.
        warnings: What the user should know, one line each.
    """

    stem: str
    checkpoint: Checkpoint
    layout: Layout
    architecture: str
    single_file_names: Mapping[str, str]
    folder: DiffusersFolder | None
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    def single_file_name(self, name: str) -> str:
        """Return what rules and components know a tensor by."""
        return self.single_file_names.get(name, name)


@contextmanager
def open_source(path: Path, options: SourceOptions) -> Iterator[Source]:
    """Open the checkpoint at `path` for a conversion; closed at the end.

    Raises:
        CheckpointError: It cannot be read as what it claims to be, holds no tensors, or
            is no diffusers folder though its layout shall be kept.
        TensorMismatchError: Scales without explanation; EMA or folder names that do not
            fit together.
    """
    if is_pipeline(path):
        folder = DiffusersFolder(path, options.folder_variant)
        source = _of_folder(folder, options)
    else:
        _refuse_folder_options(path, options)
        checkpoint = open_checkpoint(path, stub_globals=options.stubs_globals)
        source = _of_file(checkpoint, options)
    with source.checkpoint:
        if not source.checkpoint.tensors:
            raise CheckpointError(
                path, "holds no tensors", code="no-tensors", hint="check the file"
            )
        yield source


def stem_of(path: Path) -> str:
    """Return a checkpoint's name without the endings that say how it is stored.

    Dots inside a name, as in `model-v1.5`, are part of it.
    """
    return _ENDINGS.sub("", path.name) or path.name


def _refuse_folder_options(path: Path, options: SourceOptions) -> None:
    if options.keeps_layout or options.folder_variant is not None:
        option = "--keep-layout" if options.keeps_layout else "--folder-variant"
        raise CheckpointError(
            path,
            f"is not a diffusers folder, as {option} expects",
            code="not-a-pipeline",
            hint=f"leave {option} out, or name the folder that has model_index.json",
        )


def _of_file(checkpoint: Checkpoint, options: SourceOptions) -> Source:
    try:
        layout = layout_of(checkpoint, assume_scaled=options.assumes_scaled)
        renames = nai_renames(checkpoint.tensors, path=checkpoint.path)
        plan = ema_plan(checkpoint.tensors, options.ema, path=checkpoint.path)
        _check_ema_shapes(checkpoint, plan.sources)
    except BaseException:
        checkpoint.close()
        raise
    sources = {renames.get(name, name): source for name, source in plan.sources.items()}
    notes = _notes(plan.dropped, renames, options.ema)
    warnings = [*checkpoint.warnings, *layout.warnings]
    if plan.uncovered:
        warnings.append(
            f"{len(plan.uncovered):,} tensors have no EMA and keep their own values: "
            f"{first_names(plan.uncovered)}"
        )
    arranged = _arranged(checkpoint, sources)
    return Source(
        stem=stem_of(checkpoint.path),
        checkpoint=arranged,
        layout=_renamed(layout, sources),
        architecture=_architecture(arranged),
        single_file_names={},
        folder=None,
        notes=notes,
        warnings=tuple(warnings),
    )


def _renamed(layout: Layout, sources: Mapping[str, str]) -> Layout:
    """Return a layout by the names that tensors have from now on."""
    names = {source: name for name, source in sources.items()}
    return replace(
        layout,
        scales={
            names[weight]: replace(scale, name=names[scale.name])
            for weight, scale in layout.scales.items()
            if weight in names
        },
        stored_as={
            names[weight]: dtype
            for weight, dtype in layout.stored_as.items()
            if weight in names
        },
        auxiliary=frozenset(names[name] for name in layout.auxiliary if name in names),
    )


def _notes(
    dropped: tuple[str, ...], renames: Mapping[str, str], mode: EmaMode
) -> tuple[str, ...]:
    notes = []
    if dropped and mode is EmaMode.USE:
        notes.append(f"EMA weights take the model's place; {len(dropped):,} read")
    elif dropped:
        notes.append(
            f"EMA weights dropped: {len(dropped):,} tensors (--ema keep or use "
            "otherwise)"
        )
    if renames:
        notes.append(f"{len(renames):,} tensors renamed: text_model. was missing")
    return tuple(notes)


def _check_ema_shapes(checkpoint: Checkpoint, sources: Mapping[str, str]) -> None:
    for name, source in sources.items():
        got, wanted = checkpoint.tensors[source].shape, checkpoint.tensors[name].shape
        if got != wanted:
            raise ShapeError(
                checkpoint.path,
                f"EMA tensor {visible(source)} has shape {list(got)}; expected "
                f"{list(wanted)}, as {visible(name)} has",
                code="ema-shape",
                hint="the EMA is of another model; pass --ema drop",
            )


def _arranged(checkpoint: Checkpoint, sources: Mapping[str, str]) -> Checkpoint:
    """Return the checkpoint with tensors taken from elsewhere; itself if none is."""
    if len(sources) == len(checkpoint.tensors) and all(
        name == source for name, source in sources.items()
    ):
        return checkpoint
    return AssembledCheckpoint(
        checkpoint,
        {
            name: Assembly((source,), checkpoint.tensors[source].shape)
            for name, source in sources.items()
        },
    )


def _of_folder(folder: DiffusersFolder, options: SourceOptions) -> Source:
    try:
        layout = layout_of(folder, assume_scaled=options.assumes_scaled)
        ema_plan(folder.tensors, options.ema, path=folder.path)  # there is none to use
        if options.keeps_layout:
            return _kept_folder(folder, layout)
        return _single_file(folder, layout)
    except BaseException:
        folder.close()
        raise


def _kept_folder(folder: DiffusersFolder, layout: Layout) -> Source:
    architecture = folder_architecture(folder.tensors)
    return Source(
        stem=folder.path.resolve().name,
        checkpoint=folder,
        layout=layout,
        architecture=architecture,
        single_file_names={
            name: _known_name(name, architecture)
            for name in folder.tensors
            if name not in layout.auxiliary
        },
        folder=folder,
        notes=_absence(folder.absent),
        warnings=(*folder.warnings, *layout.warnings),
    )


def _absence(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        return ()
    return (f"{INDEX_NAME} will declare as not there: {first_names(names)}",)


def _known_name(name: str, architecture: str) -> str:
    """Return what rules know a folder's tensor by, also one of no single file."""
    if architecture in FORMS:
        with suppress(ValueError):
            return single_file_name(name, architecture)
    component, _, rest = name.partition("/")
    return f"{_COMPONENT_PREFIXES[component]}{rest}"


def _single_file(folder: DiffusersFolder, layout: Layout) -> Source:
    if layout.is_scaled:
        raise TensorMismatchError(
            folder.path,
            f"is {layout.title}; expected weights without scales in a folder that "
            "becomes one file",
            code="scaled-folder",
            hint="pass --keep-layout",
        )
    architecture, assemblies = single_file_assemblies(folder.tensors, path=folder.path)
    markers = prediction_markers(
        architecture,
        prediction_type=folder.schedule.prediction_type,
        zero_terminal_snr=folder.schedule.zero_terminal_snr,
    )
    return Source(
        stem=folder.path.resolve().name,
        checkpoint=AssembledCheckpoint(folder, {**assemblies, **markers}),
        layout=layout,
        architecture=architecture,
        single_file_names={},
        folder=None,
        notes=(),
        warnings=(*folder.warnings, *layout.warnings),
    )


def _architecture(checkpoint: Checkpoint) -> str:
    return detect({name: each.shape for name, each in checkpoint.tensors.items()})
