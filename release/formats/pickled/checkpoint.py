"""A pickled checkpoint, as everyone above sees a checkpoint."""

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Self

from release.errors import visible
from release.formats.input import InputFile, opened
from release.formats.pickled.gather import Gatherer
from release.formats.pickled.isolation import read_plan
from release.formats.pickled.records import VerifiedRecords
from release.formats.pickled.views import View
from release.formats.tensor import TensorEntry
from release.numeric.dtype import Dtype

if TYPE_CHECKING:
    from collections.abc import Mapping

_SWAPPED_NBYTES: Final = {Dtype.C64: 4}
"""Width of what is swapped where it is not the element itself."""


class PickledCheckpoint:
    """A checkpoint in one `.ckpt`, `.pt`, `.pth` or `.bin` file in zip form.

    The file is parsed by a child process and nothing of it is run. The CRC of every
    record is verified while its tensor is read, or by `check_unchanged`.

    Args:
        source: The file; one that is already open belongs to this object from now on
            and is closed with it, also when this constructor fails.
        stub_globals: Leave out what Lightning and NumPy have put beside the state dict,
            instead of refusing the file.

    Attributes:
        path: The file.
        files: The same, alone.
        container: Kind of file, in a few words.
        metadata: Empty: such files have no free text that is safe to keep.
        tensors: All tensors by name, in the order of their bytes in the file.
        nbytes: Bytes of the file.
        warnings: Oddities that are legal, one line each.

    Raises:
        InputError: The file cannot be opened, or changed while it was parsed.
        CheckpointError: The file is refused; `code` says why.
    """

    def __init__(self, source: Path | InputFile, *, stub_globals: bool = False) -> None:
        self._file = opened(source)
        self.path = self._file.path
        self.files = (self.path,)
        self.container = "PyTorch file"
        try:
            plan = read_plan(self._file, stub_globals=stub_globals)
            self._file.check_unchanged()
        except BaseException:
            self._file.close()
            raise
        self.metadata: Mapping[str, str] = MappingProxyType({})
        self.tensors: Mapping[str, TensorEntry] = MappingProxyType(_entries(plan.views))
        self.nbytes = self._file.nbytes
        self.warnings = (*_name_warning(self.path), *plan.warnings)
        self._views = {view.name: view for view in plan.views}
        self._is_big_endian = plan.is_big_endian
        self._records = VerifiedRecords(self._file, plan)
        self._gatherer = Gatherer(self._records)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read_into(self, entry: TensorEntry, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset` bytes inside the tensor; see `Checkpoint`.

        Raises:
            CheckpointError: `crc` when this reading completes a damaged record.
        """
        if not 0 <= offset <= entry.nbytes - buffer.nbytes:
            message = (
                f"tensor {visible(entry.name)}: bytes {offset} to "
                f"{offset + buffer.nbytes} of {entry.nbytes}"
            )
            raise ValueError(message)
        view = self._views[entry.name]
        if view.is_contiguous and not self._swapped_nbytes(view):
            begin, _ = view.span
            self._records.read_into(view.record, begin + offset, buffer)
        elif buffer.nbytes:
            self._read_elements(view, offset, buffer.cast("B"))

    def check_unchanged(self) -> None:
        """Verify the records that were not read, and compare the file's state.

        Raises:
            InputError: `input-changed`.
            CheckpointError: `crc`, naming the tensors.
        """
        self._records.verify_rest()
        self._file.check_unchanged()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()

    def _read_elements(self, view: View, offset: int, buffer: memoryview) -> None:
        """Read the whole elements that a range touches, and keep the range."""
        begin = offset // view.itemsize * view.itemsize
        end = -(-(offset + len(buffer)) // view.itemsize) * view.itemsize
        elements = bytearray(end - begin)
        if view.is_contiguous:
            first, _ = view.span
            self._records.read_into(view.record, first + begin, memoryview(elements))
        else:
            self._gatherer.read_into(view, begin, memoryview(elements))
        width = self._swapped_nbytes(view)
        if width:
            elements = _swapped(elements, width)
        buffer[:] = memoryview(elements)[offset - begin :][: len(buffer)]

    def _swapped_nbytes(self, view: View) -> int:
        """Return the width of what must be swapped; 0 where nothing must."""
        width = _SWAPPED_NBYTES.get(view.dtype, view.itemsize)
        return width if self._is_big_endian and width > 1 else 0


def _entries(views: tuple[View, ...]) -> dict[str, TensorEntry]:
    """Return entries one after the other, as if the data were one section."""
    entries: dict[str, TensorEntry] = {}
    begin = 0
    for view in views:
        end = begin + view.nbytes
        entries[view.name] = TensorEntry(view.name, view.dtype, view.shape, begin, end)
        begin = end
    return entries


def _swapped(elements: bytearray, width: int) -> bytearray:
    swapped = bytearray(len(elements))
    for at in range(width):
        swapped[at::width] = elements[width - 1 - at :: width]
    return swapped


def _name_warning(path: Path) -> tuple[str, ...]:
    """Say that a file is no safetensors file, which its name promises."""
    if path.suffix.lower() not in {".safetensors", ".sft"}:
        return ()
    return ("suffix: a PyTorch file under the name of a safetensors file",)
