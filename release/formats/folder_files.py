"""What a diffusers folder holds besides weights: its configurations.

`model_index.json` names the components. A converted folder can be loaded only with the
same small files beside the new weights: configurations, vocabularies, schedules.
"""

import json
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from release.errors import (
    CheckpointError,
    IntegrityError,
    first_names,
    visible,
)
from release.formats.folder_layout import COMPONENTS, list_folder
from release.formats.hints import FAULTY_WRITER
from release.formats.json_file import read_json_object
from release.formats.limits import SMALL_FILE_NBYTES_MAX, SMALL_FILES_MAX
from release.formats.paths import safe_relative_path
from release.formats.sharded import is_index_name

INDEX_NAME: Final = "model_index.json"
"""The file that makes a folder a pipeline."""

_MODEL_CONFIG: Final = "config.json"
"""What libraries save beside weights; tokenizers and schedulers have other files."""
_CONFIG_NBYTES_MAX: Final = 2**20
_SUFFIXES: Final = (".json", ".txt", ".model")
_WEIGHT_SUFFIXES: Final = (".safetensors", ".bin", ".ckpt", ".pt", ".pth")
_USUAL_FOLDERS: Final = (*COMPONENTS, "tokenizer", "tokenizer_2", "scheduler")


@dataclass(frozen=True, slots=True)
class SmallFile:
    """A configuration or vocabulary.

    Attributes:
        relative: Its place in the folder, safe on any system.
        path: Where it is; may be a symlink, as in the Hub's cache.
        nbytes: Its size.
    """

    relative: PurePosixPath
    path: Path
    nbytes: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """What the scheduler's configuration says of the model itself.

    Attributes:
        prediction_type: Such as "epsilon" or "v_prediction"; "" where it is not said.
        zero_terminal_snr: Whether the last step of the schedule is pure noise.
    """

    prediction_type: str
    zero_terminal_snr: bool


def pipeline_folders(folder: Path) -> tuple[str, ...]:
    """Return the subfolders that belong to the pipeline, sorted.

    They are those that `model_index.json` names; where it is missing, the usual ones
    that are there.

    Raises:
        CheckpointError: `json`, `json-too-large`, or `model-index` for a component
            that is not a plain name.
    """
    path = folder / INDEX_NAME
    if not path.exists():
        return tuple(
            sorted(name for name in _USUAL_FOLDERS if (folder / name).is_dir())
        )
    members = read_json_object(path, nbytes_max=_CONFIG_NBYTES_MAX)
    names = [
        name
        for name, value in members.items()
        if isinstance(value, list)
        and len(value) == 2
        and all(isinstance(text, str) for text in value)
    ]
    for name in names:
        _check_component_name(path, name)
    return tuple(sorted(names))


def missing_weights(folders: Sequence[str], present: Sequence[str]) -> tuple[str, ...]:
    """Return the components that the pipeline names and that have no weights.

    Args:
        folders: As `pipeline_folders` gives them.
        present: The components whose weights were found.
    """
    return tuple(name for name in folders if name in COMPONENTS and name not in present)


def unread_folders(folder: Path, folders: Sequence[str]) -> tuple[str, ...]:
    """Return the subfolders of the pipeline whose weights are not read."""
    return tuple(
        name
        for name in folders
        if name not in COMPONENTS
        and (folder / name).is_dir()
        and any(file.endswith(_WEIGHT_SUFFIXES) for file in list_folder(folder / name))
    )


def absent_components(folder: Path, folders: Sequence[str]) -> tuple[str, ...]:
    """Return the components of the pipeline that a copy of what is read lacks.

    They are models that are not read, with weights or without, and what is not there.
    """
    unread = unread_folders(folder, folders)
    return tuple(
        name
        for name in folders
        if name not in COMPONENTS
        and (
            name in unread
            or not (folder / name).is_dir()
            or _is_file(folder / name / _MODEL_CONFIG)
        )
    )


def small_files(
    folder: Path, folders: Sequence[str]
) -> tuple[tuple[SmallFile, ...], tuple[str, ...]]:
    """Return the small files of the pipeline, sorted, and warnings.

    Symlinks may lead within the folder or, in the Hub's cache, to its blobs; others are
    left out with a warning, as are files above 16 MiB.

    Raises:
        CheckpointError: `small-files` above 256 files, `small-file-name` for a name
            that is unsafe on some system.
    """
    files: list[SmallFile] = []
    left_out: list[str] = []
    roots = _roots(folder)
    for relative in _candidates(folder, folders):
        path = folder / relative
        status = path.stat()
        if status.st_size > SMALL_FILE_NBYTES_MAX or not _is_within(path, roots):
            left_out.append(str(relative))
            continue
        files.append(SmallFile(_safe(folder, relative), path, status.st_size))
        if len(files) > SMALL_FILES_MAX:
            raise CheckpointError(
                folder,
                f"holds more than {SMALL_FILES_MAX} configurations and vocabularies",
                code="small-files",
                hint="remove what does not belong to the pipeline",
            )
    return tuple(files), _left_out(left_out)


def read_schedule(folder: Path, folders: Sequence[str]) -> Schedule:
    """Return what the pipeline's scheduler says, if it has one.

    Raises:
        CheckpointError: `json` or `json-too-large`.
    """
    path = folder / "scheduler" / "scheduler_config.json"
    members: Mapping[str, object] = {}
    if "scheduler" in folders and path.exists():
        members = read_json_object(path, nbytes_max=_CONFIG_NBYTES_MAX)
    prediction = members.get("prediction_type")
    return Schedule(
        prediction_type=prediction if isinstance(prediction, str) else "",
        zero_terminal_snr=members.get("rescale_betas_zero_snr") is True,
    )


def _check_component_name(path: Path, name: str) -> None:
    try:
        safe_relative_path(name)
        is_plain = "/" not in name
    except IntegrityError:
        is_plain = False
    if not is_plain:
        raise CheckpointError(
            path,
            f"names the component {visible(name)}, expected a plain folder name",
            code="model-index",
            hint=FAULTY_WRITER,
        )


def _candidates(folder: Path, folders: Sequence[str]) -> Iterator[PurePosixPath]:
    """Yield the index of the pipeline and what lies directly in its subfolders."""
    if _is_file(folder / INDEX_NAME):
        yield PurePosixPath(INDEX_NAME)
    for name in folders:
        if not (folder / name).is_dir() or (folder / name).is_symlink():
            continue
        for file in list_folder(folder / name):
            is_wanted = file.endswith(_SUFFIXES) and not is_index_name(file)
            if is_wanted and _is_file(folder / name / file):
                yield PurePosixPath(name, file)


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _roots(folder: Path) -> tuple[Path, ...]:
    """Return where small files may really be: the folder, or its cache's blobs."""
    root = folder.resolve()
    if root.parent.name == "snapshots":
        return root, root.parent.parent / "blobs"
    return (root,)


def _is_within(path: Path, roots: Sequence[Path]) -> bool:
    real = path.resolve()
    return any(real.is_relative_to(root) for root in roots)


def _safe(folder: Path, relative: PurePosixPath) -> PurePosixPath:
    try:
        return safe_relative_path(str(relative))
    except IntegrityError as error:
        raise CheckpointError(
            folder,
            f"holds a file whose {error}, expected a name that all systems know",
            code="small-file-name",
            hint="rename or remove the file",
        ) from error


def _left_out(names: Sequence[str]) -> tuple[str, ...]:
    if not names:
        return ()
    line = (
        f"small-files: {first_names(names)} left out, larger than "
        f"{SMALL_FILE_NBYTES_MAX // 2**20} MiB or a symlink out of the folder"
    )
    return (line,)


def without_components(index: bytes, absent: Sequence[str]) -> bytes:
    """Return a `model_index.json` in which components are declared as not there.

    A pipeline cannot be loaded from a folder that lacks what its index names.

    Args:
        index: The file, which `pipeline_folders` has read before.
        absent: Components whose weights are not in the folder.
    """
    if not absent:
        return index
    members = json.loads(index)
    members |= {name: [None, None] for name in absent}
    return (json.dumps(members, indent=2, ensure_ascii=False) + "\n").encode()
