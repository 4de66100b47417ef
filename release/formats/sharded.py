"""A checkpoint cut into several safetensors files, with an index or without one.

An index is a JSON file whose `weight_map` gives the file of every tensor. Without one,
the files are those that share a name but for their number:
`NAME-00001-of-00004.safetensors`, with a variant before or, in older files, behind it.

Source:
    huggingface_hub 2.4, `serialization/_base.py` (index, numbering); diffusers 0.42,
    `pipelines/pipeline_loading_utils.py` (names with a variant, older names).
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from release.errors import (
    CheckpointError,
    InputError,
    IntegrityError,
    TensorMismatchError,
    first_names,
    visible,
)
from release.formats.checkpoint import Checkpoint, SafetensorsCheckpoint
from release.formats.hints import FAULTY_WRITER
from release.formats.joined import JoinedCheckpoint
from release.formats.json_file import read_json_object
from release.formats.json_text import Json
from release.formats.limits import INDEX_NBYTES_MAX, SHARDS_MAX
from release.formats.paths import safe_relative_paths

_INDEX_NAME: Final = re.compile(
    r".+\.safetensors(\.[\w-]+)?\.index(\.[\w-]+)?\.json", re.ASCII
)
_SHARD_NAME: Final = re.compile(
    r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})"
    r"(?P<end>(\.[\w-]+)?\.safetensors)",
    re.ASCII | re.DOTALL,
)
_COMPLETE: Final = "put all parts of the checkpoint into one folder, or download again"


def is_index_name(name: str) -> bool:
    """Return whether a file of this name is the index of a sharded checkpoint."""
    return _INDEX_NAME.fullmatch(name) is not None


def is_shard_name(name: str) -> bool:
    """Return whether a file of this name is one of several numbered shards."""
    return _SHARD_NAME.fullmatch(name) is not None


def is_first_shard_name(name: str) -> bool:
    """Return whether a file of this name is the first of several numbered shards."""
    found = _SHARD_NAME.fullmatch(name)
    return found is not None and int(found["number"]) == 1


def shard_paths(path: Path) -> list[Path]:
    """Return all shards of a checkpoint, whether they are there or not.

    Args:
        path: The index, or any one of the numbered shards.

    Raises:
        CheckpointError: As for `ShardedCheckpoint`.
        InputError: The index cannot be read.
    """
    if is_index_name(path.name):
        return _named_shards(path, _read_index(path))
    return _numbered_shards(path)


class ShardedCheckpoint(JoinedCheckpoint):
    """A checkpoint in several safetensors files; see `JoinedCheckpoint`.

    Attributes:
        index_path: The index, or None.

    Args:
        path: The index, or any one of the numbered shards.

    Raises:
        CheckpointError: `json` or `json-too-large` (index not strict JSON), `index` (no
            proper `weight_map`), `shard-name` (a name that leaves the folder),
            `too-many-shards`, `shard-number`, `not-sharded`, or as for a shard.
        InputError: `shard-missing` names all that are missing.
        TensorMismatchError: `index-tensors` when index and shards differ,
            `duplicate-tensor` when a name is in two shards.
    """

    def __init__(self, path: Path) -> None:
        weight_map: dict[str, str] | None = None
        self.index_path = path if is_index_name(path.name) else None
        if self.index_path is not None:
            weight_map = _read_index(path)
            shards = _named_shards(path, weight_map)
        else:
            shards = _numbered_shards(path)
        _check_present(path, shards)
        super().__init__(
            path,
            [("", _opener(shard)) for shard in shards],
            container="safetensors shards"
            if weight_map is None
            else "safetensors shards with an index",
            own_files=() if weight_map is None else (path,),
        )
        if weight_map is not None:
            try:
                self._check_map(weight_map)
            except BaseException:
                self.close()
                raise

    def file_of(self, tensor: str) -> Path:
        """Return the shard that holds the tensor called `tensor`."""
        return self._places[tensor][0].path

    def _check_map(self, weight_map: Mapping[str, str]) -> None:
        found = {name: self.file_of(name).name for name in self.tensors}
        lost = [name for name, shard in weight_map.items() if found.get(name) != shard]
        if lost:
            shard = weight_map[lost[0]]
            raise TensorMismatchError(
                self.path,
                f"{len(lost):,} tensors are not in the file that the index names: "
                f"{first_names(lost)}, expected the first in {visible(shard)}",
                code="index-tensors",
                hint=_COMPLETE,
            )
        unlisted = [name for name in found if name not in weight_map]
        if unlisted:
            raise TensorMismatchError(
                self.path,
                f"{len(unlisted):,} tensors of the shards are not in the index: "
                f"{first_names(unlisted)}, expected all of them",
                code="index-tensors",
                hint=_COMPLETE,
            )


def encode_index(weight_map: Mapping[str, str], *, data_nbytes: int) -> bytes:
    """Return the index of a sharded checkpoint as the Hub's libraries write it.

    Args:
        weight_map: Tensor name -> plain name of the file it is in.
        data_nbytes: Bytes of all tensors.
    """
    index = {"metadata": {"total_size": data_nbytes}, "weight_map": dict(weight_map)}
    return (json.dumps(index, indent=2, sort_keys=True) + "\n").encode()


def _opener(shard: Path) -> Callable[[], Checkpoint]:
    return partial(SafetensorsCheckpoint, shard)


def _read_index(path: Path) -> dict[str, str]:
    members = read_json_object(path, nbytes_max=INDEX_NBYTES_MAX)
    weight_map = members.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise _bad_index(path, "has no weight_map, expected tensor names with files")
    return {name: _shard_of(path, name, value) for name, value in weight_map.items()}


def _shard_of(path: Path, name: str, value: Json) -> str:
    if not isinstance(value, str):
        raise _bad_index(
            path, f"gives {visible(name)} no file name, expected one for every tensor"
        )
    return value


def _bad_index(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(path, reason, code="index", hint=FAULTY_WRITER)


def _named_shards(path: Path, weight_map: Mapping[str, str]) -> list[Path]:
    """Return the files that an index names, sorted, all of them in its folder."""
    names = sorted(set(weight_map.values()))
    _check_count(path, len(names))
    for name in names:
        if "/" in name or not name.endswith(".safetensors"):
            raise _bad_shard_name(path, f"names the shard {visible(name)}")
    try:
        safe_relative_paths(names)
    except IntegrityError as error:
        raise _bad_shard_name(path, f"names a shard whose {error}") from error
    return [path.with_name(name) for name in names]


def _bad_shard_name(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        path,
        f"{reason}, expected plain .safetensors names in the same folder",
        code="shard-name",
        hint=FAULTY_WRITER,
    )


def _numbered_shards(path: Path) -> list[Path]:
    """Return all shards that share their name with `path`, by number."""
    match = _SHARD_NAME.fullmatch(path.name)
    if match is None:
        raise CheckpointError(
            path,
            "is neither a shard index nor a numbered shard, expected a name such as "
            "model.safetensors.index.json or model-00001-of-00004.safetensors",
            code="not-sharded",
            hint="name the index or one of the shards",
        )
    number, total = int(match["number"]), int(match["total"])
    if not 1 <= number <= total:
        raise CheckpointError(
            path,
            f"is number {number} of {total}, expected 1 to {total}",
            code="shard-number",
            hint="give the file the name under which it was published",
        )
    _check_count(path, total)
    return [
        path.with_name(f"{match['stem']}-{n:05d}-of-{total:05d}{match['end']}")
        for n in range(1, total + 1)
    ]


def _check_count(path: Path, n_shards: int) -> None:
    if n_shards > SHARDS_MAX:
        raise CheckpointError(
            path,
            f"is cut into {n_shards:,} files, expected at most {SHARDS_MAX}",
            code="too-many-shards",
            hint="save the checkpoint again with larger shards",
        )


def _check_present(path: Path, shards: Sequence[Path]) -> None:
    missing = [shard.name for shard in shards if not _is_there(shard)]
    if missing:
        raise InputError(
            path,
            f"{len(missing)} of {len(shards)} shards are missing: "
            f"{first_names(missing)}",
            code="shard-missing",
            hint=_COMPLETE,
        )


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except (OSError, ValueError):
        return False
    return True
