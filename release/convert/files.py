"""The files of a variant: one file, shards, or the folder it came from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from release.formats.diffusers_folder import DiffusersFolder
from release.formats.sharded import encode_index
from release.metadata import RECORD_NAME, RECORD_SUFFIX

SUFFIX: Final = ".safetensors"
INDEX_SUFFIX: Final = ".safetensors.index.json"


@dataclass(frozen=True, slots=True)
class Part:
    """One file of weights: its place below the output folder, its tensors.

    Attributes:
        name: Its place.
        tensors: Names as the source has them.
        prefix: What all of them begin with, and not in the file.
    """

    name: str
    tensors: tuple[str, ...]
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class VariantFiles:
    """Everything that one variant consists of.

    Attributes:
        base: What names of further files begin with, such as "model-fp8".
        parts: The files of weights.
        indexes: Index file -> the parts that it lists.
        copies: File of the source's folder -> its place.
    """

    base: str
    parts: tuple[Part, ...]
    indexes: Mapping[str, tuple[Part, ...]]
    copies: Mapping[PurePosixPath, str]

    @property
    def names(self) -> tuple[str, ...]:
        """The places of all files below the output folder, those of weights first."""
        weights = (part.name for part in self.parts)
        return (*weights, *self.indexes, self.record_name, *self.copies.values())

    @property
    def record_name(self) -> str:
        """Where the record of the conversion goes."""
        if self.copies:
            return f"{self.base}/{RECORD_NAME}"
        return f"{self.base}{RECORD_SUFFIX}"


def one_file(base: str, tensors: Mapping[str, int]) -> VariantFiles:
    """Return a variant in one file."""
    part = Part(f"{base}{SUFFIX}", tuple(tensors))
    return VariantFiles(base, (part,), {}, {})


def shards(base: str, tensors: Mapping[str, int], shard_nbytes: int) -> VariantFiles:
    """Return a variant in shards of at most `shard_nbytes` bytes of data each.

    A tensor that is larger has a shard of its own. What fits into one file is one, as
    programs expect it, without an index.

    Args:
        base: What the names begin with.
        tensors: Name -> bytes in this variant, in the order of the source.
        shard_nbytes: Most bytes of a shard's data section.

    Source:
        huggingface_hub, `split_state_dict_into_shards_factory` (names, greedy filling).
    """
    groups: list[list[str]] = [[]]
    filled = 0
    for name, nbytes in tensors.items():
        if groups[-1] and filled + nbytes > shard_nbytes:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += nbytes
    if len(groups) == 1:
        return one_file(base, tensors)
    parts = tuple(
        Part(f"{base}-{at:05d}-of-{len(groups):05d}{SUFFIX}", tuple(group))
        for at, group in enumerate(groups, start=1)
    )
    return VariantFiles(base, parts, {f"{base}{INDEX_SUFFIX}": parts}, {})


def folder(base: str, source: DiffusersFolder) -> VariantFiles:
    """Return a variant in a folder of the same layout as its source."""
    parts = []
    indexes: dict[str, list[Part]] = {}
    for file in source.weight_files:
        place = f"{base}/{file.relative}"
        part = Part(place, file.tensors, prefix=f"{file.relative.parent}/")
        parts.append(part)
        if file.index is not None:
            indexes.setdefault(f"{base}/{file.index}", []).append(part)
    return VariantFiles(
        base=base,
        parts=tuple(parts),
        indexes={name: tuple(listed) for name, listed in indexes.items()},
        copies={
            each.relative: f"{base}/{each.relative}" for each in source.small_files
        },
    )


def index_text(
    parts: tuple[Part, ...], tensors: Mapping[str, tuple[str, ...]], nbytes: int
) -> bytes:
    """Return the index of some parts.

    Args:
        parts: The files that it lists; they lie beside it.
        tensors: Part's name -> all that it holds, scales and markers included.
        nbytes: Bytes of all their data.
    """
    return encode_index(
        {
            name: PurePosixPath(part.name).name
            for part in parts
            for name in tensors[part.name]
        },
        data_nbytes=nbytes,
    )
