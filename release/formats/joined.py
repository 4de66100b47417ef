"""Several checkpoints as one: shards of a file, components of a folder."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Self, TypeAlias

from release.errors import HeaderError, TensorMismatchError, first_names, visible
from release.formats.checkpoint import Checkpoint
from release.formats.header_entries import metadata_nbytes
from release.formats.header_json import too_many_tensors
from release.formats.hints import FAULTY_WRITER
from release.formats.limits import METADATA_NBYTES_MAX, TENSORS_MAX
from release.formats.tensor import TensorEntry
from release.metadata import PER_FILE_KEYS

Part: TypeAlias = "tuple[str, Callable[[], Checkpoint]]"
"""What the names of a part's tensors get in front, and how the part is opened."""


class JoinedCheckpoint:
    """A checkpoint whose tensors lie in other checkpoints; see `Checkpoint`.

    The parts are opened one after the other, belong to this object and are closed with
    it. The data section is virtual: that of every part, one after the other.

    Attributes:
        path: What the user named.
        container: Kind of file or folder, as given.
        files: `own_files`, then the files of all parts.
        metadata: That of all parts; keys on which they differ are left out.
        tensors: All tensors by name, in the order of the parts.
        nbytes: Bytes of all parts.
        warnings: `own_warnings`, then those of the parts and of joining them.

    Args:
        path: What the user named.
        parts: The parts, in order.
        container: Kind of file or folder, in a few words.
        own_files: Files read besides those of the parts.
        own_warnings: Warnings besides those of the parts.

    Raises:
        CheckpointError: A part cannot be opened.
        TensorMismatchError: `duplicate-tensor`, one name in two parts.
        HeaderError: `too-many-tensors` or `metadata-size`, all parts together.
    """

    def __init__(
        self,
        path: Path,
        parts: Iterable[Part],
        *,
        container: str,
        own_files: tuple[Path, ...] = (),
        own_warnings: tuple[str, ...] = (),
    ) -> None:
        self.path = path
        self.container = container
        self._parts: list[Checkpoint] = []
        self._places: dict[str, tuple[Checkpoint, TensorEntry]] = {}
        self._entries: dict[str, TensorEntry] = {}
        self._metadata = _CommonMetadata(path)
        self._end = 0
        try:
            for prefix, open_part in parts:
                self._parts.append(open_part())
                self._add(prefix, self._parts[-1])
        except BaseException:
            self.close()
            raise
        self.tensors: Mapping[str, TensorEntry] = MappingProxyType(self._entries)
        self.metadata: Mapping[str, str] = MappingProxyType(self._metadata.kept)
        self.files = own_files + tuple(
            file for part in self._parts for file in part.files
        )
        self.nbytes = sum(part.nbytes for part in self._parts)
        self.warnings = (
            *own_warnings,
            *(line for part in self._parts for line in _warnings_of(part)),
            *self._metadata.warnings,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read_into(self, entry: TensorEntry, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset` bytes inside the tensor; see `Checkpoint`."""
        part, place = self._places[entry.name]
        part.read_into(place, offset, buffer)

    def check_unchanged(self) -> None:
        """Compare all open files with their first state; see `Checkpoint`."""
        for part in self._parts:
            part.check_unchanged()

    def close(self) -> None:
        """Close all parts; a second call does nothing."""
        for part in self._parts:
            part.close()

    def _add(self, prefix: str, part: Checkpoint) -> None:
        if len(self._entries) + len(part.tensors) > TENSORS_MAX:
            raise too_many_tensors(self.path)
        for entry in part.tensors.values():
            name = f"{prefix}{entry.name}"
            if name in self._places:
                raise self._duplicate(name, part)
            end = self._end + entry.nbytes
            self._entries[name] = TensorEntry(
                name, entry.dtype, entry.shape, self._end, end
            )
            self._places[name] = (part, entry)
            self._end = end
        self._metadata.add(part.metadata)

    def _duplicate(self, name: str, part: Checkpoint) -> TensorMismatchError:
        first = self._places[name][0]
        return TensorMismatchError(
            self.path,
            f"tensor {visible(name)} is in {visible(first.path.name)} and in "
            f"{visible(part.path.name)}, expected every tensor once",
            code="duplicate-tensor",
            hint=FAULTY_WRITER,
        )


class _CommonMetadata:
    """The metadata of several files, without the keys on which they differ."""

    def __init__(self, path: Path) -> None:
        self.kept: dict[str, str] = {}
        self._path = path
        self._differing: set[str] = set()

    @property
    def warnings(self) -> tuple[str, ...]:
        differing = self._differing - PER_FILE_KEYS
        if not differing:
            return ()
        names = first_names(sorted(differing))
        return (f"metadata: the files differ in {names}, which is left out",)

    def add(self, metadata: Mapping[str, str]) -> None:
        """Take over what does not contradict; all of it within the limit of one file.

        Raises:
            HeaderError: `metadata-size`.
        """
        for key, value in metadata.items():
            if key in self._differing:
                continue
            if self.kept.setdefault(key, value) != value:
                del self.kept[key]
                self._differing.add(key)
        nbytes = metadata_nbytes(self.kept)
        if nbytes > METADATA_NBYTES_MAX:
            raise HeaderError(
                self._path,
                f"metadata of all files is {nbytes:,} bytes, expected at most "
                f"{METADATA_NBYTES_MAX:,}",
                code="metadata-size",
                hint=FAULTY_WRITER,
            )


def _warnings_of(part: Checkpoint) -> Iterable[str]:
    """Yield the warnings of `part` with its name behind the stable word."""
    for line in part.warnings:
        word, _, rest = line.partition(": ")
        yield f"{word}: {visible(part.path.name)}: {rest}"
