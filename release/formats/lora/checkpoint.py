"""A LoRA as a checkpoint: the change of every tensor it touches, computed on the fly.

The change of an element is one value, whatever range it is read in, on whatever thread
and machine; `product` says how.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from release.errors import visible
from release.formats.checkpoint import Checkpoint
from release.formats.lora.places import Names
from release.formats.lora.rows import DenseRows, Rows
from release.formats.lora.targets import Target, read_targets
from release.formats.open import open_checkpoint
from release.formats.tensor import TensorEntry

_BLOCK_ELEMENTS: Final = 2**18
"""Elements computed at once; 2 MiB in float64, of which up to four are in use."""
_WIDTH: Final = 4
_FLOAT32: Final = np.dtype("<f4")


class LoraCheckpoint:
    """The change of a model by a LoRA or LyCORIS file; see `Checkpoint`.

    `base` belongs to this object and is closed with it, also when this constructor
    fails. Every thread keeps the factors of the tensor that it read last, in float64,
    and of a transposed tensor the change as a whole.

    Attributes:
        path: As in `base`.
        files: As in `base`.
        container: As in `base`.
        metadata: As in `base`.
        tensors: The change of every tensor that is touched, in F32, by the model's name
            and in its shape, in the order of `model`. What is not here does not change.
        nbytes: As in `base`.
        warnings: As in `base`.

    Args:
        base: The file.
        model: The tensors of the model, by name.
        names: What the modules of LoRAs are called in that model.

    Raises:
        TensorMismatchError: `lora-names` for modules that the model has not,
            `lora-ambiguous` for names that stand for several tensors, `lora-duplicate`
            for a tensor that is changed twice, `lora-kind`, `lora-incomplete` or
            `no-tensors`.
        ShapeError: `lora-shape` or `lora-rank`.
        DtypeError: `lora-dtype`.
        ValueRangeError: `lora-alpha`, or `not-finite` for an alpha.
        CheckpointError: `lora-metadata`.
    """

    def __init__(
        self, base: Checkpoint, model: Mapping[str, TensorEntry], names: Names
    ) -> None:
        self._base = base
        self._last = _Last()
        self.path = base.path
        self.files = base.files
        self.container = base.container
        self.metadata = base.metadata
        self.nbytes = base.nbytes
        self.warnings = base.warnings
        try:
            targets = read_targets(base, model, names)
        except BaseException:
            base.close()
            raise
        self._targets = {target.entry.name: target for target in targets}
        self.tensors: Mapping[str, TensorEntry] = MappingProxyType(
            {name: target.entry for name, target in self._targets.items()}
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read_into(self, entry: TensorEntry, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset` bytes inside the tensor; see `Checkpoint`.

        Raises:
            InputError: The file changed or cannot be read.
            ValueRangeError: `not-finite`, a factor with NaN or infinity.
            ValueError: The range leaves the tensor.
        """
        target = buffer.cast("B")
        if not 0 <= offset <= entry.nbytes - target.nbytes:
            message = (
                f"tensor {visible(entry.name)}: bytes {offset} to "
                f"{offset + target.nbytes} of {entry.nbytes}"
            )
            raise ValueError(message)
        if not target:
            return
        change = self._change(entry.name)
        end = -(-(offset + target.nbytes) // _WIDTH)
        while target:
            first = offset // _WIDTH
            values = change.elements(first, min(end - first, _BLOCK_ELEMENTS))
            raw = values.data.cast("B")[offset % _WIDTH :][: target.nbytes]
            target[: raw.nbytes] = raw
            target, offset = target[raw.nbytes :], offset + raw.nbytes

    def check_unchanged(self) -> None:
        """Compare the open file with its first state; see `Checkpoint`."""
        self._base.check_unchanged()

    def close(self) -> None:
        """Close `base`; a second call does nothing."""
        self._last = _Last()
        self._base.close()

    def _change(self, name: str) -> "_Change":
        """Return the change of a tensor, with its factors read."""
        last = self._last
        if last.name != name:
            last.name, last.change = "", _NOTHING
            last.change = _prepare(self._base, self._targets[name])
            last.name = name
        return last.change


@dataclass(frozen=True, slots=True)
class _Part:
    """One of the parts that a tensor is stacked of; without rows it is 0."""

    n_elements: int
    n_columns: int
    rows: Rows | None
    scale: float

    def elements(self, start: int, count: int) -> NDArray[np.float32]:
        """Return a range of the part's elements, flat."""
        if self.rows is None:
            return np.zeros(count, dtype=_FLOAT32)
        first, last = start // self.n_columns, (start + count - 1) // self.n_columns
        found = self.rows.rows(first, last + 1).reshape(-1)
        found = found[start - first * self.n_columns :][:count]
        if self.scale != 1.0:
            found *= self.scale
        with np.errstate(over="ignore", under="ignore"):
            return found.astype(_FLOAT32)


@dataclass(frozen=True, slots=True)
class _Change:
    """The change of a whole tensor."""

    parts: tuple[_Part, ...] = field(default=())

    def elements(self, start: int, count: int) -> NDArray[np.float32]:
        """Return a range of the tensor's elements, flat, in little-endian bytes."""
        pieces = []
        begin = 0
        for part in self.parts:
            end = begin + part.n_elements
            low, high = max(begin, start), min(end, start + count)
            if low < high:
                pieces.append(part.elements(low - begin, high - low))
            begin = end
        return np.concatenate(pieces) if len(pieces) > 1 else pieces[0]


_NOTHING: Final = _Change()


class _Last(threading.local):
    """The tensor that a thread read last; chunks of it are asked for in turn."""

    def __init__(self) -> None:
        self.name = ""
        self.change = _NOTHING


def _prepare(base: Checkpoint, target: Target) -> _Change:
    """Return the change of a tensor; reads all its factors."""
    n_elements = target.entry.n_elements // target.n_parts
    parts = []
    for number in range(target.n_parts):
        source = target.sources.get(number)
        if source is None:
            parts.append(_Part(n_elements, 1, None, 1.0))
            continue
        rows = source.rows(base)
        n_columns = n_elements // source.n_rows
        if target.transposed:
            turned = np.ascontiguousarray(rows.rows(0, source.n_rows).T)
            rows, n_columns = DenseRows(turned), source.n_rows
        parts.append(_Part(n_elements, n_columns, rows, source.scale))
    return _Change(tuple(parts))


def open_lora_file(
    path: Path, model: Mapping[str, TensorEntry], names: Names
) -> LoraCheckpoint:
    """Open a LoRA or LyCORIS file, of safetensors or pickled.

    Args:
        path: The file.
        model: The tensors of the model, by name.
        names: What the modules of LoRAs are called in that model.

    Raises:
        InputError: The file cannot be opened.
        CheckpointError: As for `LoraCheckpoint` and `open_checkpoint`.
    """
    return LoraCheckpoint(open_checkpoint(path), model, names)
