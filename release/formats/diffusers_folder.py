"""A diffusers folder as one checkpoint with names such as `unet/conv_in.weight`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from release.errors import TensorMismatchError
from release.formats.checkpoint import Checkpoint, SafetensorsCheckpoint
from release.formats.folder_files import (
    INDEX_NAME,
    absent_components,
    missing_weights,
    pipeline_folders,
    read_schedule,
    small_files,
    unread_folders,
)
from release.formats.folder_layout import (
    COMPONENTS,
    ComponentWeights,
    find_weights,
    list_folder,
)
from release.formats.joined import JoinedCheckpoint
from release.formats.sharded import ShardedCheckpoint, is_index_name


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One file of weights.

    Attributes:
        relative: Its place in the folder.
        tensors: Names of its tensors, as the checkpoint calls them, in data order.
        index: Place of the shard index that lists them, or None.
    """

    relative: PurePosixPath
    tensors: tuple[str, ...]
    index: PurePosixPath | None


class DiffusersFolder(JoinedCheckpoint):
    """The weights of a pipeline's folder; see `JoinedCheckpoint`.

    Names are `COMPONENT/TENSOR`; components are unet, vae, text_encoder and
    text_encoder_2.

    Attributes:
        weight_files: Every file of weights, component by component.
        small_files: Configurations and vocabularies that a copy of the folder needs.
        unread: Subfolders of the pipeline that hold weights which are not read.
        absent: Components that a copy of what is read lacks, those among them.
        schedule: What the scheduler says of the model.

    Args:
        path: The folder.
        variant: As for `find_weights`.

    Raises:
        CheckpointError: As for `find_weights`, `small_files`, `ShardedCheckpoint`, and
            for single files.
        TensorMismatchError: `missing-component`, named by the pipeline and not there.
    """

    def __init__(self, path: Path, variant: str | None = None) -> None:
        list_folder(path)
        weights, warnings = find_weights(path, variant)
        folders = pipeline_folders(path)
        _check_complete(path, folders, weights)
        self.small_files, file_warnings = small_files(path, folders)
        self.unread = unread_folders(path, folders)
        self.absent = absent_components(path, folders)
        self.schedule = read_schedule(path, folders)
        super().__init__(
            path,
            [(f"{each.component}/", _opener(path, each)) for each in weights],
            container="diffusers folder",
            own_warnings=(*warnings, *file_warnings, *_unread_warnings(self.unread)),
        )
        self.weight_files = self._weight_files(weights)

    def _weight_files(
        self, weights: tuple[ComponentWeights, ...]
    ) -> tuple[WeightFile, ...]:
        found: list[WeightFile] = []
        for each, part in zip(weights, self._parts, strict=True):
            index = each.entry_point if is_index_name(each.entry_point.name) else None
            names: dict[str, list[str]] = {
                file.name: [] for file in part.files if not is_index_name(file.name)
            }
            for name in part.tensors:
                names[_file_name(part, name)].append(f"{each.component}/{name}")
            found.extend(
                WeightFile(PurePosixPath(each.component, file), tuple(tensors), index)
                for file, tensors in names.items()
            )
        return tuple(found)


def is_pipeline(path: Path) -> bool:
    """Return whether `path` is a folder in the layout of diffusers."""
    return path.is_dir() and any(
        (path / name).exists() for name in (INDEX_NAME, *COMPONENTS)
    )


def _file_name(part: Checkpoint, tensor: str) -> str:
    if isinstance(part, ShardedCheckpoint):
        return part.file_of(tensor).name
    return part.path.name


def _opener(folder: Path, weights: ComponentWeights) -> Callable[[], Checkpoint]:
    opened = ShardedCheckpoint if weights.is_sharded else SafetensorsCheckpoint
    return partial(opened, folder / weights.entry_point)


def _check_complete(
    path: Path, folders: tuple[str, ...], weights: tuple[ComponentWeights, ...]
) -> None:
    missing = missing_weights(folders, [each.component for each in weights])
    if missing:
        raise TensorMismatchError(
            path,
            f"has no weights of {', '.join(missing)}, expected all components that "
            f"model_index.json names",
            code="missing-component",
            hint="download the whole folder",
        )


def _unread_warnings(unread: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(
        f"unread: the weights of {name} are neither converted nor copied"
        for name in unread
    )
