"""A checkpoint seen under other names and shapes: the same values, arranged anew.

Two layouts of one model differ in names, in whether three matrices are stored one
below the other, in a transposition, or in trailing dimensions of 1. None of that
changes a value, so nothing is computed and nothing is written to get from one to the
other.
"""

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self

from release.errors import (
    DtypeError,
    ShapeError,
    TensorMismatchError,
    first_names,
    visible,
)
from release.formats.checkpoint import Checkpoint
from release.formats.tensor import TensorEntry
from release.numeric.dtype import Dtype

_TRANSPOSED_NBYTES_MAX: Final = 64 * 2**20
"""Bytes of a matrix that is transposed; the largest of real models has 7 MB."""


@dataclass(frozen=True, slots=True)
class Assembly:
    """How one tensor is put together from tensors of another checkpoint.

    Attributes:
        parts: Names of the tensors, one below the other along dimension 0. None at all
            makes an empty F32 tensor, a marker that says something by being there.
        shape: Dimensions of the result, as many elements as the parts have.
        transposed: Whether the one part, a matrix, is transposed.
    """

    parts: tuple[str, ...]
    shape: tuple[int, ...]
    transposed: bool = False


class AssembledCheckpoint:
    """The tensors of `base`, put together anew; see `Checkpoint`.

    `base` belongs to this object and is closed with it, also when this constructor
    fails. Transposing keeps one whole tensor of at most 64 MiB in memory at a time,
    and twice that while it is turned; everything else keeps none.

    Attributes:
        path: As in `base`.
        files: As in `base`.
        container: As in `base`.
        metadata: As in `base`.
        tensors: The new tensors by name, in the order given.
        nbytes: As in `base`.
        warnings: As in `base`.

    Args:
        base: Where the bytes are.
        tensors: New name -> how it is put together.

    Raises:
        TensorMismatchError: `assembly-part`, a part that `base` lacks.
        DtypeError: `assembly-dtype`, parts of several dtypes, or elements that are not
            whole bytes and should be transposed.
        ShapeError: `assembly-shape`, shapes that do not fit together; `assembly-size`,
            a matrix that is too large to be transposed in memory.
    """

    def __init__(self, base: Checkpoint, tensors: Mapping[str, Assembly]) -> None:
        self._base = base
        self._assemblies = dict(tensors)
        self._transposition = _Transposition(base)
        self.path = base.path
        self.files = base.files
        self.container = base.container
        self.metadata = base.metadata
        self.nbytes = base.nbytes
        self.warnings = base.warnings
        try:
            entries = _entries(base, self._assemblies)
        except BaseException:
            base.close()
            raise
        self.tensors: Mapping[str, TensorEntry] = MappingProxyType(entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read_into(self, entry: TensorEntry, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset` bytes inside the tensor; see `Checkpoint`."""
        target = buffer.cast("B")
        if not 0 <= offset <= entry.nbytes - target.nbytes:
            message = (
                f"tensor {visible(entry.name)}: bytes {offset} to "
                f"{offset + target.nbytes} of {entry.nbytes}"
            )
            raise ValueError(message)
        assembly = self._assemblies[entry.name]
        parts = [self._base.tensors[name] for name in assembly.parts]
        if assembly.transposed:
            self._transposition.read_into(parts[0], offset, target)
        else:
            self._read_parts(parts, offset, target)

    def check_unchanged(self) -> None:
        """Compare all open files with their first state; see `Checkpoint`."""
        self._base.check_unchanged()

    def close(self) -> None:
        """Close `base`; a second call does nothing."""
        self._transposition.forget()
        self._base.close()

    def _read_parts(
        self, parts: Sequence[TensorEntry], offset: int, target: memoryview
    ) -> None:
        begin = 0
        for part in parts:
            end = begin + part.nbytes
            low, high = max(begin, offset), min(end, offset + target.nbytes)
            if low < high:
                self._base.read_into(
                    part, low - begin, target[low - offset : high - offset]
                )
            begin = end


class _Transposition:
    """The last transposed matrix, kept because chunks of it are asked for in turn."""

    def __init__(self, base: Checkpoint) -> None:
        self._base = base
        self._lock = threading.Lock()
        self._name = ""
        self._data = memoryview(b"")

    def read_into(self, part: TensorEntry, offset: int, target: memoryview) -> None:
        with self._lock:
            if self._name != part.name:
                self._drop()
                self._data = _transposed(self._base, part)
                self._name = part.name
            target[:] = self._data[offset : offset + target.nbytes]

    def forget(self) -> None:
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        self._name, self._data = "", memoryview(b"")


def _transposed(base: Checkpoint, part: TensorEntry) -> memoryview:
    """Return the bytes of a matrix, column after column."""
    import numpy as np

    raw = np.empty(part.nbytes, dtype=np.uint8)
    base.read_into(part, 0, raw.data)
    width = part.dtype.bits // 8
    columns = raw.reshape(*part.shape, width).transpose(1, 0, 2)
    return np.ascontiguousarray(columns).reshape(-1).data


def _entries(
    base: Checkpoint, assemblies: Mapping[str, Assembly]
) -> dict[str, TensorEntry]:
    """Return the new tensors, one after the other in a virtual data section."""
    entries: dict[str, TensorEntry] = {}
    begin = 0
    for name, assembly in assemblies.items():
        parts = _parts(base, name, assembly)
        _check_dtypes(base.path, name, parts, assembly)
        _check_shapes(base.path, name, parts, assembly)
        if assembly.transposed:
            _check_size(base.path, name, parts[0])
        end = begin + sum(part.nbytes for part in parts)
        dtype = parts[0].dtype if parts else Dtype.F32
        entries[name] = TensorEntry(name, dtype, assembly.shape, begin, end)
        begin = end
    return entries


def _parts(base: Checkpoint, name: str, assembly: Assembly) -> list[TensorEntry]:
    missing = [part for part in assembly.parts if part not in base.tensors]
    if missing:
        raise TensorMismatchError(
            base.path,
            f"lacks {first_names(missing)}, expected it as a part of {visible(name)}",
            code="assembly-part",
            hint="the checkpoint is incomplete; download it again",
        )
    return [base.tensors[part] for part in assembly.parts]


def _check_dtypes(
    path: Path, name: str, parts: Sequence[TensorEntry], assembly: Assembly
) -> None:
    codes = sorted({part.dtype.code for part in parts})
    if len(codes) > 1:
        raise DtypeError(
            path,
            f"parts of {visible(name)} are {', '.join(codes)}, expected one dtype",
            code="assembly-dtype",
            hint="convert the checkpoint to one dtype with the program that wrote it",
        )
    if assembly.transposed and any(part.dtype.bits % 8 for part in parts):
        raise DtypeError(
            path,
            f"{visible(name)} is {codes[0]} and has to be transposed, "
            f"expected elements of whole bytes",
            code="assembly-dtype",
            hint="use the checkpoint that it was quantised from",
        )


def _check_shapes(
    path: Path, name: str, parts: Sequence[TensorEntry], assembly: Assembly
) -> None:
    shapes = [part.shape for part in parts]
    if not _fits(shapes, assembly):
        got = ", ".join(str(list(shape)) for shape in shapes)
        how = "transposed, " if assembly.transposed else ""
        raise ShapeError(
            path,
            f"parts of {visible(name)} have the shapes {visible(got)}, expected what "
            f"makes {how}{visible(list(assembly.shape))}",
            code="assembly-shape",
            hint="the checkpoint is damaged or of another architecture",
        )


def _check_size(path: Path, name: str, part: TensorEntry) -> None:
    if part.nbytes > _TRANSPOSED_NBYTES_MAX:
        raise ShapeError(
            path,
            f"{visible(name)} holds {part.nbytes:,} bytes and has to be transposed, "
            f"expected at most {_TRANSPOSED_NBYTES_MAX:,}",
            code="assembly-size",
            hint="the checkpoint is crafted or of another architecture",
        )


def _fits(shapes: Sequence[tuple[int, ...]], assembly: Assembly) -> bool:
    if assembly.transposed:
        return shapes == [assembly.shape[::-1]] and len(assembly.shape) == 2
    if len(shapes) < 2:
        n_elements = sum(math.prod(shape) for shape in shapes)
        return n_elements == math.prod(assembly.shape)
    rows = sum(shape[0] if shape else 0 for shape in shapes)
    return assembly.shape == (rows, *assembly.shape[1:]) and all(
        shape[1:] == assembly.shape[1:] and shape for shape in shapes
    )
