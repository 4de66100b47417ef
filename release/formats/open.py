"""Opening whatever a checkpoint is stored as."""

from pathlib import Path

from release.formats.checkpoint import Checkpoint, SafetensorsCheckpoint
from release.formats.sharded import ShardedCheckpoint, is_index_name, is_shard_name


def open_checkpoint(path: Path, *, stub_globals: bool = False) -> Checkpoint:
    """Open the checkpoint at `path`: one safetensors file, or its shards."""
    del stub_globals
    if is_index_name(path.name) or is_shard_name(path.name):
        return ShardedCheckpoint(path)
    return SafetensorsCheckpoint(path)
