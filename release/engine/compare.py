"""Two checkpoints, tensor by tensor: which parts differ, and by how much."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from release.engine.jobs import Operand
from release.engine.parallel import run_all
from release.engine.read import Reader
from release.formats.checkpoint import Checkpoint
from release.numeric.cast import widen
from release.numeric.digest import Xxh3Bits128

_CHUNK_ELEMENTS: Final = 256 * 1024
_BLOCK_NBYTES: Final = 2**20

DIFFERS: Final = math.inf
"""The square of a difference that cannot be computed."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One tensor of two checkpoints.

    Attributes:
        name: What both call it.
        operands: Of the first and of the second; None where it is missing.
        n_parts: How many equal parts, along dimension 0, are told apart.
        is_compared: Whether values are subtracted; otherwise bytes are compared.
    """

    name: str
    operands: tuple[Operand | None, Operand | None]
    n_parts: int
    is_compared: bool

    @property
    def nbytes(self) -> int:
        """Bytes of both."""
        return sum(each.entry.nbytes for each in self.operands if each is not None)


@dataclass(frozen=True, slots=True)
class Compared:
    """What is known of a pair.

    Attributes:
        digests: XXH3-128 of both, in hex; None where the tensor is missing.
        squares: Squared Frobenius norm of the difference of each part; 0 exactly where
            there is none. `DIFFERS` for bytes that differ; NaN for values that are not
            finite.
    """

    digests: tuple[str | None, str | None]
    squares: tuple[float, ...]


def compare(
    inputs: Sequence[Checkpoint],
    pairs: Sequence[Pair],
    *,
    threads: int,
    advance: Callable[[int], None],
) -> list[Compared]:
    """Read both tensors of every pair once; memory is a few chunks for each thread.

    Args:
        inputs: The checkpoints that operands refer to.
        pairs: What is compared.
        threads: Worker threads.
        advance: Called with bytes read, from any thread; may raise to stop.

    Raises:
        InputError: A file changed or cannot be read.
    """
    torch.set_num_threads(1)

    def run(pair: Pair) -> Compared:
        if pair.is_compared:
            return _subtracted(inputs, pair, advance)
        return _by_bytes(inputs, pair, advance)

    return run_all(run, pairs, threads=threads)


def _subtracted(
    inputs: Sequence[Checkpoint], pair: Pair, advance: Callable[[int], None]
) -> Compared:
    first, second = pair.operands
    if first is None or second is None:
        raise AssertionError("what is missing cannot be subtracted")
    n_elements = first.entry.n_elements
    length = min(_CHUNK_ELEMENTS, n_elements)
    readers = [Reader(inputs, length, advance) for _ in range(2)]
    digests = (Xxh3Bits128(), Xxh3Bits128())
    buffers = torch.empty(2, length, dtype=torch.float64)
    part_length = n_elements // pair.n_parts
    squares = []
    for begin in range(0, n_elements, max(part_length, 1)):
        total = 0.0
        for start in range(begin, begin + part_length, _CHUNK_ELEMENTS):
            count = min(_CHUNK_ELEMENTS, begin + part_length - start)
            before = readers[0].read(first, start, count, digest=digests[0])
            after = readers[1].read(second, start, count, digest=digests[1])
            total += _square(before, after, buffers[:, :count])
        squares.append(total)
    found = (digests[0].hexdigest(), digests[1].hexdigest())
    return Compared(found, tuple(squares) or (0.0,) * pair.n_parts)


def _square(before: Tensor, after: Tensor, buffers: Tensor) -> float:
    """Return the squared norm of a difference; 0 for the same bytes, NaN included."""
    if before.dtype == after.dtype and torch.equal(
        before.view(torch.uint8), after.view(torch.uint8)
    ):
        return 0.0
    widen(before, buffers[0])
    widen(after, buffers[1])
    difference = buffers[1].sub_(buffers[0])
    return float(torch.dot(difference, difference))


def _by_bytes(
    inputs: Sequence[Checkpoint], pair: Pair, advance: Callable[[int], None]
) -> Compared:
    first, second = (
        None if operand is None else _digest(inputs, operand, advance)
        for operand in pair.operands
    )
    kinds = {
        (operand.entry.dtype, operand.entry.shape)
        for operand in pair.operands
        if operand is not None
    }
    is_same = first == second and len(kinds) == 1
    return Compared((first, second), (0.0 if is_same else DIFFERS,))


def _digest(
    inputs: Sequence[Checkpoint], operand: Operand, advance: Callable[[int], None]
) -> str:
    digest = Xxh3Bits128()
    nbytes = operand.entry.nbytes
    buffer = memoryview(bytearray(min(_BLOCK_NBYTES, nbytes)))
    for offset in range(0, nbytes, _BLOCK_NBYTES):
        block = buffer[: min(_BLOCK_NBYTES, nbytes - offset)]
        inputs[operand.ingredient].read_into(operand.entry, offset, block)
        digest.update(block)
        advance(len(block))
    return digest.hexdigest()
