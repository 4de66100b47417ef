"""Operands as they are read: in chunks, hashed, and multiplied by their scales."""

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

from release.engine.jobs import Operand
from release.formats.checkpoint import Checkpoint
from release.formats.layouts.kinds import Scale
from release.formats.scaled import Float32Array, multipliers, read_grid
from release.numeric.cast import TORCH_DTYPES, bytes_of, widen
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
        width = operand.entry.dtype.bits // 8
        window = self._raw_bytes[: count * width]
        self._inputs[operand.ingredient].read_into(operand.entry, start * width, window)
        if digest is not None:
            digest.update(window)
        self._advance(count * width if digest is not None else 0)
        raw = self._raw[: count * width].view(TORCH_DTYPES[operand.entry.dtype])
        if operand.scale is None:
            return raw
        value = self._scaled[:count]
        widen(raw, value)
        factor = multipliers(
            self._grid(operand.ingredient, operand.scale),
            operand.scale,
            shape=operand.entry.shape,
            start=start,
            count=count,
        )
        if isinstance(factor, float):
            return value.mul_(factor)
        return value.mul_(torch.from_numpy(factor))

    def _grid(self, ingredient: int, scale: Scale) -> Float32Array:
        key = (ingredient, scale.name)
        if key not in self._grids:
            self._grids[key] = read_grid(self._inputs[ingredient], scale)
        return self._grids[key]
