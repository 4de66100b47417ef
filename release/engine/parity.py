"""The same tensors of two checkpoints, read once and compared on all threads.

Three questions are answered in one reading: are the bits the same; are the values the
same; and is one side the other one rounded, as our own cast rounds, to its dtype and
with its scale. Figures say how far apart the values are.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from release.engine.jobs import Operand
from release.engine.likeness import Likeness
from release.engine.parallel import run_all
from release.engine.value_parity import ValueParity
from release.formats.checkpoint import Checkpoint
from release.numeric.cast import NUMBER_DTYPES
from release.numeric.dtype import Dtype

_RUN_NBYTES: Final = 8 * 2**20
"""Neighbouring tensors that a thread takes at once: most are far smaller than handing
them over costs."""
_BLOCK_NBYTES: Final = 2**20
_UNSIGNED: Final = {8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}


@dataclass(frozen=True, slots=True)
class TensorPair:
    """One tensor of two checkpoints, of the same number of elements.

    `operands` are of A and of B, which are the inputs 0 and 1.
    """

    name: str
    operands: tuple[Operand, Operand]

    @property
    def dtypes(self) -> tuple[Dtype, Dtype]:
        """Both dtypes as they are stored."""
        return self.operands[0].entry.dtype, self.operands[1].entry.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of both."""
        return sum(operand.entry.nbytes for operand in self.operands)


def compare_pairs(
    inputs: Sequence[Checkpoint],
    pairs: Sequence[TensorPair],
    *,
    threads: int,
    advance: Callable[[int], None],
) -> list[Likeness]:
    """Return how alike each pair is; memory is a few chunks for each thread.

    Args:
        inputs: Both checkpoints, A first.
        pairs: What is compared.
        threads: Worker threads; no figure depends on their number.
        advance: Called with bytes read, from any thread; may raise to stop.

    Raises:
        InputError: A file changed or cannot be read.
        ValueRangeError: `bad-scale`.
    """
    torch.set_num_threads(1)
    local = threading.local()

    def run(some: Sequence[TensorPair]) -> list[Likeness]:
        if not hasattr(local, "values"):
            local.values = ValueParity(inputs, advance)
        return [_compare(pair, inputs, local.values, advance) for pair in some]

    found = run_all(run, list(_runs(pairs)), threads=threads)
    return [likeness for some in found for likeness in some]


def _runs(pairs: Sequence[TensorPair]) -> Iterator[list[TensorPair]]:
    run: list[TensorPair] = []
    nbytes = 0
    for pair in pairs:
        run.append(pair)
        nbytes += pair.nbytes
        if nbytes >= _RUN_NBYTES:
            yield run
            run, nbytes = [], 0
    if run:
        yield run


def _compare(
    pair: TensorPair,
    inputs: Sequence[Checkpoint],
    values: ValueParity,
    advance: Callable[[int], None],
) -> Likeness:
    first, second = pair.dtypes
    if first is second and not first.is_arithmetic:
        return _by_bits(pair, inputs, advance)
    if first in NUMBER_DTYPES and second in NUMBER_DTYPES:
        return values.run(pair.operands)
    return _incomparable(pair, advance)


def _by_bits(
    pair: TensorPair, inputs: Sequence[Checkpoint], advance: Callable[[int], None]
) -> Likeness:
    """Compare what is no float: an element is the same or it is not."""
    first, second = (operand.entry for operand in pair.operands)
    likeness = Likeness(first.n_elements)
    likeness.is_measured = False
    buffers = np.empty((2, min(_BLOCK_NBYTES, first.nbytes)), dtype=np.uint8)
    element = _UNSIGNED.get(first.dtype.bits, np.uint8)
    for offset in range(0, first.nbytes, _BLOCK_NBYTES):
        blocks = buffers[:, : first.nbytes - offset]
        for checkpoint, entry, block in zip(
            inputs, (first, second), blocks, strict=True
        ):
            checkpoint.read_into(entry, offset, memoryview(block))
        sides = (block.view(element) for block in blocks)
        likeness.n_differing += int(np.count_nonzero(np.not_equal(*sides)))
        advance(2 * blocks.shape[1])
    return _settled(likeness)


def _incomparable(pair: TensorPair, advance: Callable[[int], None]) -> Likeness:
    """Return the likeness of two dtypes that have no numbers in common: none."""
    likeness = Likeness(pair.operands[0].entry.n_elements)
    likeness.is_measured = False
    likeness.n_differing = likeness.n_elements
    likeness.is_equal = False
    advance(pair.nbytes)
    return _settled(likeness)


def _settled(likeness: Likeness) -> Likeness:
    likeness.n_beyond_rounding = likeness.n_differing
    if likeness.n_differing:
        likeness.is_equal = likeness.is_a_rounded = likeness.is_b_rounded = False
    return likeness
