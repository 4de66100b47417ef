"""The entry of one tensor in a checkpoint, their order, and their common digest."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from release.errors import OutputError, visible
from release.numeric.digest import tensor_set_digest
from release.numeric.dtype import Dtype


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where one tensor lies and what it is.

    Attributes:
        name: Tensor name; foreign text, never a path.
        dtype: Dtype of the elements.
        shape: Dimensions, row-major; `()` is one element.
        begin: First byte, counted from the start of the data section.
        end: Byte after the last one.
    """

    name: str
    dtype: Dtype
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor's data."""
        return self.end - self.begin

    @property
    def n_elements(self) -> int:
        """Product of the dimensions."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor that is to be written: everything but its place.

    Attributes:
        name: Tensor name.
        dtype: Dtype of the elements.
        shape: Dimensions, row-major.
    """

    name: str
    dtype: Dtype
    shape: tuple[int, ...]


def lay_out(specs: Iterable[TensorSpec]) -> tuple[TensorEntry, ...]:
    """Return the entries of `specs` in the order of the data section, without holes.

    Wide dtypes come first, which keeps every tensor aligned; then names by code point.
    The order of `specs` does not matter.

    Raises:
        OutputError: `sub-byte` when elements of 4 or 6 bits do not fill whole bytes.

    Source:
        huggingface/safetensors 0.8.0, `prepare` in `tensor.rs`.
    """
    ordered = sorted(specs, key=lambda spec: (-spec.dtype.alignment_rank, spec.name))
    entries: list[TensorEntry] = []
    begin = 0
    for spec in ordered:
        end = begin + _nbytes(spec)
        entries.append(TensorEntry(spec.name, spec.dtype, spec.shape, begin, end))
        begin = end
    return tuple(entries)


def tensor_set(entries: Iterable[TensorEntry], digests: Mapping[str, str]) -> str:
    """Return the one digest of a set of tensors, whatever their order in a file.

    Args:
        entries: The tensors; names are distinct.
        digests: Tensor name -> XXH3-128 of its data.
    """
    return tensor_set_digest(
        (entry.name, entry.dtype, entry.shape, digests[entry.name]) for entry in entries
    )


def _nbytes(spec: TensorSpec) -> int:
    n_bits = math.prod(spec.shape) * spec.dtype.bits
    if n_bits % 8:
        raise OutputError(
            f"tensor {visible(spec.name)}: {n_bits:,} bits of {spec.dtype.code}, "
            f"expected a multiple of 8",
            code="sub-byte",
            hint="pad the tensor's last dimension to whole bytes",
        )
    return n_bits // 8
