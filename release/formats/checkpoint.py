"""What a checkpoint is to everyone above: tensors by name, bytes by range."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, Self

from release.errors import visible
from release.formats.header import Header, TensorEntry, read_header
from release.formats.input import InputFile, opened


class Checkpoint(Protocol):
    """A model's tensors, readable by byte range; a context manager.

    Nothing but the names, dtypes and shapes is in memory.
    """

    @property
    def path(self) -> Path:
        """What the user named."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file on disk that is read."""

    @property
    def container(self) -> str:
        """Kind of file or folder, in a few words."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """Free text of the file's maker; foreign and never trusted."""

    @property
    def tensors(self) -> Mapping[str, TensorEntry]:
        """All tensors by name, in the order of their data."""

    @property
    def nbytes(self) -> int:
        """Bytes on disk, headers included."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Oddities that are legal, one line each, beginning with a stable word."""

    def read_into(self, entry: TensorEntry, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with bytes of one tensor; several threads may do so at once.

        Args:
            entry: One of `tensors`.
            offset: Bytes from the start of the tensor.
            buffer: Writable and contiguous; ends within the tensor.

        Raises:
            InputError: The file changed or cannot be read.
            ValueError: The range leaves the tensor.
        """

    def check_unchanged(self) -> None:
        """Compare the open files with the state in which they were opened.

        Raises:
            InputError: `input-changed`.
        """

    def close(self) -> None:
        """Close all files; a second call does nothing."""

    def __enter__(self) -> Self:
        """Return the checkpoint itself."""

    def __exit__(self, *_: object) -> None:
        """Close all files."""


class SafetensorsCheckpoint:
    """A checkpoint in one safetensors file.

    Args:
        source: The file; one that is already open belongs to this object from now on
            and is closed with it, also when this constructor fails.
        header: Its header, if that was read already.

    Attributes:
        path: The file.
        files: The same, alone.
        container: Kind of file, in a few words.
        file: The same, opened.
        metadata: The header's `__metadata__`.
        tensors: All tensors by name, in data order.
        nbytes: Bytes of the file.
        warnings: Those of the header.
        data_begin: Where the data section starts, in bytes from the start of the file.

    Raises:
        InputError: The file cannot be opened.
        CheckpointError: As for `read_header`.
    """

    def __init__(
        self, source: Path | InputFile, *, header: Header | None = None
    ) -> None:
        self.file = opened(source)
        self.path = self.file.path
        self.files = (self.path,)
        self.container = "safetensors file"
        try:
            header = header or read_header(self.file)
        except BaseException:
            self.file.close()
            raise
        self.metadata: Mapping[str, str] = MappingProxyType(dict(header.metadata))
        self.tensors: Mapping[str, TensorEntry] = MappingProxyType(
            {entry.name: entry for entry in header.tensors}
        )
        self.nbytes = self.file.nbytes
        self.warnings = header.warnings
        self.data_begin = header.nbytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read_into(self, entry: TensorEntry, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset` bytes inside the tensor; see `Checkpoint`."""
        if not 0 <= offset <= entry.nbytes - buffer.nbytes:
            message = (
                f"tensor {visible(entry.name)}: bytes {offset} to "
                f"{offset + buffer.nbytes} of {entry.nbytes}"
            )
            raise ValueError(message)
        self.file.read_into(self.data_begin + entry.begin + offset, buffer)

    def check_unchanged(self) -> None:
        """Compare the open file with its first state; see `Checkpoint`."""
        self.file.check_unchanged()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self.file.close()
