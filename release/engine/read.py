"""Operands as they are read: in chunks, hashed, and multiplied by their scales."""

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

from release.engine.jobs import Operand
from release.formats.checkpoint import Checkpoint
from release.formats.layouts.kinds import Scale
from release.formats.scaled import Float32Array, multipliers, read_grid
from release.numeric.cast import NUMBER_DTYPES, bytes_of, widen
from release.numeric.digest import Xxh3Bits128

_MAX_ELEMENT_NBYTES: Final = 8


class Reader:
    """Reused buffers for the operands of one thread.

    Args:
        inputs: Checkpoints that operands refer to by number.
        chunk_elements: Elements of the longest chunk.
        advance: Called with the bytes read after each chunk; may raise to stop.
    """

    def __init__(
        self,
        inputs: Sequence[Checkpoint],
        chunk_elements: int,
        advance: Callable[[int], None],
    ) -> None:
        self._inputs = inputs
        self._advance = advance
        self._raw = torch.empty(chunk_elements * _MAX_ELEMENT_NBYTES, dtype=torch.uint8)
        self._raw_bytes = bytes_of(self._raw)
        self._scaled = torch.empty(chunk_elements, dtype=torch.float32)
        self._grids: dict[tuple[int, str], Float32Array] = {}

    def begin(self) -> None:
        """Forget the scales of the tensor before."""
        self._grids.clear()

    def read(
        self, operand: Operand, start: int, count: int, *, digest: Xxh3Bits128 | None
    ) -> Tensor:
        """Return `count` elements from element `start` on.

        Args:
            operand: What is read.
            start: First element.
            count: Number of elements.
            digest: What the bytes are added to; None for a second reading, which is no
                progress either.

        Returns:
            Flat, in the dtype of the file; float32 where the operand has a scale, as a
            consumer computes it: float32(value) * float32(scale), rounded once. A
            reused buffer.
        """
        raw = self.read_raw(operand, start, count, digest=digest)
        factor = self.factor(operand, start, count)
        if factor is None:
            return raw
        value = self._scaled[:count]
        widen(raw, value)
        return value.mul_(factor)

    def read_raw(
        self, operand: Operand, start: int, count: int, *, digest: Xxh3Bits128 | None
    ) -> Tensor:
        """Return elements as `read` does, but as they are stored, without the scale."""
        width = operand.entry.dtype.bits // 8
        window = self._raw_bytes[: count * width]
        self._inputs[operand.ingredient].read_into(operand.entry, start * width, window)
        if digest is not None:
            digest.update(window)
        self._advance(count * width if digest is not None else 0)
        return self._raw[: count * width].view(NUMBER_DTYPES[operand.entry.dtype])

    def factor(self, operand: Operand, start: int, count: int) -> Tensor | float | None:
        """Return what stored elements are multiplied by; None without a scale."""
        if operand.scale is None:
            return None
        factor = multipliers(
            self.grid(operand.ingredient, operand.scale),
            operand.scale,
            shape=operand.entry.shape,
            start=start,
            count=count,
        )
        return factor if isinstance(factor, float) else torch.from_numpy(factor)

    def grid(self, ingredient: int, scale: Scale) -> Float32Array:
        """Return all values of a scale, read once for each tensor."""
        key = (ingredient, scale.name)
        if key not in self._grids:
            self._grids[key] = read_grid(self._inputs[ingredient], scale)
        return self._grids[key]
