"""Opening whatever a checkpoint is stored as."""

from pathlib import Path
from typing import Final

from release.errors import InputError
from release.formats.checkpoint import Checkpoint, SafetensorsCheckpoint
from release.formats.input import InputFile
from release.formats.pickled.sniff import ZIP_MAGIC
from release.formats.sharded import ShardedCheckpoint, is_index_name, is_shard_name

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
        path: The file, or one of the shards, or their index.
        stub_globals: As for `PickledCheckpoint`; nothing to the others.

    Raises:
        InputError: As for `InputFile`.
        CheckpointError: The file is not what its name or its first bytes promise.
    """
    if is_index_name(path.name) or is_shard_name(path.name):
        return ShardedCheckpoint(path)
    if _is_pickled(path):
        from release.formats.pickled.checkpoint import PickledCheckpoint

        return PickledCheckpoint(path, stub_globals=stub_globals)
    return SafetensorsCheckpoint(path)


def open_safetensors(path: Path) -> SafetensorsCheckpoint:
    """Open one safetensors file, for what only these have: digests in their header.

    Raises:
        InputError: `pickle` for a pickled file; as for `InputFile`.
        CheckpointError: As for `read_header`.
    """
    if _is_pickled(path):
        raise InputError(
            path,
            "is a pickled checkpoint, expected a .safetensors file",
            code="pickle",
            hint="krelease convert makes a safetensors file of it",
        )
    return SafetensorsCheckpoint(path)


def _is_pickled(path: Path) -> bool:
    """Return whether the file is named as a pickled one, or begins like PyTorch's."""
    with InputFile(path) as file:
        begin = file.read(0, min(len(ZIP_MAGIC), file.nbytes))
    return path.suffix.lower() in _PICKLED_SUFFIXES or begin == ZIP_MAGIC
