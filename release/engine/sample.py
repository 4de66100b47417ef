"""Some elements of some tensors, as float64: what an analysis looks at."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch

from release.engine.jobs import Operand
from release.engine.read import Reader
from release.formats.checkpoint import Checkpoint
from release.formats.scaled import multipliers, read_grid
from release.numeric.cast import widen
from release.numeric.grid import Float64Array

RUN_ELEMENTS: Final = 8192
"""Elements of the longest run that is read at once."""

Run = tuple[int, int]
"""First element of a tensor, and how many from there on; at most `RUN_ELEMENTS`."""


class Sampler:
    """Reads runs of elements; one for each thread.

    Args:
        inputs: Checkpoints that operands refer to by number.
        advance: Called with the bytes read; may raise to stop.
    """

    def __init__(
        self, inputs: Sequence[Checkpoint], advance: Callable[[int], None]
    ) -> None:
        torch.set_num_threads(1)
        self._inputs = inputs
        self._advance = advance
        self._reader = Reader(inputs, RUN_ELEMENTS, lambda _: None)
        self._wide = torch.empty(RUN_ELEMENTS, dtype=torch.float64)

    def values(self, operand: Operand, runs: Sequence[Run]) -> Float64Array:
        """Return the values of an operand, scales applied; flat, newly allocated."""
        self._reader.begin()
        parts = []
        for start, count in runs:
            raw = self._reader.read(operand, start, count, digest=None)
            wide = self._wide[:count]
            widen(raw, wide)
            parts.append(wide.numpy().copy())
            self._advance(count * operand.entry.dtype.bits // 8)
        return np.concatenate(parts)

    def scales(self, operand: Operand, runs: Sequence[Run]) -> Float64Array:
        """Return what stored values are multiplied by; 1 for those without scale."""
        if operand.scale is None:
            return np.ones(sum(count for _, count in runs))
        grid = read_grid(self._inputs[operand.ingredient], operand.scale)
        shape = operand.entry.shape
        parts = [
            np.broadcast_to(
                multipliers(grid, operand.scale, shape=shape, start=start, count=count),
                count,
            )
            for start, count in runs
        ]
        return np.concatenate(parts).astype(np.float64)
