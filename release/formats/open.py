"""Opening whatever a checkpoint is stored as."""

from pathlib import Path
from typing import Final

from release.errors import InputError, first_names
from release.formats.checkpoint import Checkpoint, SafetensorsCheckpoint
from release.formats.folder_layout import list_folder
from release.formats.input import InputFile
from release.formats.pickled.sniff import ZIP_MAGIC
from release.formats.sharded import (
    ShardedCheckpoint,
    is_first_shard_name,
    is_index_name,
    is_shard_name,
)

_PICKLED_SUFFIXES: Final = {
    ".bin",
    ".ckpt",
    ".pickle",
    ".pkl",
    ".pt",
    ".pt2",
    ".pth",
}


def open_checkpoint(path: Path, *, stub_globals: bool = False) -> Checkpoint:
    """Open the checkpoint at `path`: a safetensors file, shards, or a pickled file.

    Args:
        path: The file, or one of the shards, their index, or the folder of either.
        stub_globals: As for `PickledCheckpoint`; nothing to the others.

    Raises:
        InputError: As for `InputFile`.
        CheckpointError: The file is not what its name or its first bytes promise.
    """
    if path.is_dir():
        path = _only_one_in(path)
    if is_index_name(path.name) or is_shard_name(path.name):
        return ShardedCheckpoint(path)
    file, was_pickled = _open_sniffed(path)
    if was_pickled:
        from release.formats.pickled.checkpoint import PickledCheckpoint

        return PickledCheckpoint(file, stub_globals=stub_globals)
    return SafetensorsCheckpoint(file)


def _only_one_in(folder: Path) -> Path:
    """Return the one checkpoint in a folder: an index, a first shard, or a file.

    Raises:
        InputError: `not-a-file`, there is none; `ambiguous-shards`, there are several.
    """
    names = list_folder(folder)
    found = [name for name in names if is_index_name(name)]
    found = found or [name for name in names if is_first_shard_name(name)]
    if len(found) == 1:
        return folder / found[0]
    single = [name for name in names if name.endswith(".safetensors")]
    if not found and len(single) == 1:
        return folder / single[0]
    if found:
        raise InputError(
            folder,
            f"holds {len(found)} sharded checkpoints, expected one: "
            f"{first_names(found)}",
            code="ambiguous-shards",
            hint="name the index, or one of the shards, of the one that is meant",
        )
    raise InputError(
        folder,
        f"is a folder with {len(single)} safetensors files, expected a checkpoint "
        "file, shards, or a folder in the layout of diffusers",
        code="not-a-file",
        hint="name the file",
    )


def open_safetensors(path: Path) -> SafetensorsCheckpoint:
    """Open one safetensors file, for what only these have: digests in their header.

    Raises:
        InputError: `pickled-checkpoint` for a pickled file; as for `InputFile`.
        CheckpointError: As for `read_header`.
    """
    file, was_pickled = _open_sniffed(path)
    if was_pickled:
        file.close()
        raise pickled_fault(path)
    return SafetensorsCheckpoint(file)


def pickled_fault(path: Path) -> InputError:
    """Return the error for a pickled file where only a safetensors file will do."""
    return InputError(
        path,
        "is a pickled checkpoint, expected a .safetensors file",
        code="pickled-checkpoint",
        hint="krelease convert makes a safetensors file of it",
    )


def _open_sniffed(path: Path) -> tuple[InputFile, bool]:
    """Return the file, open, and whether it is a pickled one."""
    file = InputFile(path)
    try:
        return file, is_pickled(file)
    except BaseException:
        file.close()
        raise


def is_pickled(file: InputFile) -> bool:
    """Return whether a file is a pickled checkpoint by its name or its start.

    Raises:
        InputError: It cannot be read.
    """
    begin = file.read(0, min(len(ZIP_MAGIC), file.nbytes))
    return file.path.suffix.lower() in _PICKLED_SUFFIXES or begin == ZIP_MAGIC
