"""Tensors that merge methods go into: sums of ingredients and of methods' results.

A method's models are sums themselves, so a chunk is computed leaf by leaf in float64:
the ingredients as they were read, then every method on sums of what precedes it. Each
product and each sum is an operation of its own, in the order of the leaves.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from release.engine.jobs import MethodStep, TensorJob, Terms
from release.engine.methods.prepare import prepare
from release.engine.methods.seam import Prepared, SweptChunk
from release.engine.read import Reader
from release.numeric.cast import widen
from release.numeric.digest import Xxh3Bits128


class Mixer:
    """Reused buffers for tensors with methods; one for each thread.

    Args:
        reader: Where operands come from.
        chunk_elements: Elements of the longest chunk.
    """

    def __init__(self, reader: Reader, chunk_elements: int) -> None:
        self._reader = reader
        self._chunk_elements = chunk_elements
        self._buffers: list[Tensor] = []
        self._prepared: list[Prepared] = []

    def begin(self, job: TensorJob) -> None:
        """Prepare the methods of a tensor, which may read it once or more.

        Raises:
            RecipeError: A method cannot be applied to a tensor of this shape.
            NotFiniteError: An operand holds what a method cannot measure.
        """
        self._prepared = []
        for step in job.methods:
            prepared = prepare(
                step.method,
                dict(step.parameters),
                shape=job.shape,
                name=job.name,
                n_models=len(step.models),
                sweep=partial(self._sweep, job, step, len(self._prepared)),
            )
            self._prepared.append(prepared)

    def chunk(
        self, job: TensorJob, start: int, digests: Sequence[Xxh3Bits128 | None]
    ) -> Tensor:
        """Return some elements of the result; flat float64, a reused buffer.

        Args:
            job: The tensor that was begun.
            start: First element.
            digests: What the bytes of each operand are added to.

        Raises:
            NotFiniteError: An operand holds NaN or infinity.
        """
        count = self._count(job, start)
        leaves = self._leaves(job, start, digests, n_methods=len(job.methods))
        total = self._buffer(len(leaves), count)
        return self._sum(leaves, job.terms, out=total)

    def _sweep(
        self, job: TensorJob, step: MethodStep, n_before: int
    ) -> Iterator[SweptChunk]:
        """Read the models of one method from the first chunk to the last."""
        unhashed = [None] * len(job.operands)
        for start in range(0, job.n_elements, self._chunk_elements):
            leaves = self._leaves(job, start, unhashed, n_methods=n_before)
            yield start, self._models(leaves, step, self._count(job, start))

    def _leaves(
        self,
        job: TensorJob,
        start: int,
        digests: Sequence[Xxh3Bits128 | None],
        *,
        n_methods: int,
    ) -> list[Tensor]:
        """Return the operands and the first methods, in buffers of their own."""
        count = self._count(job, start)
        leaves: list[Tensor] = []
        for operand, digest in zip(job.operands, digests, strict=True):
            raw = self._reader.read(operand, start, count, digest=digest)
            value = self._buffer(len(leaves), count)
            if raw.dtype is torch.float64:
                value.copy_(raw)
            else:
                widen(raw, value)
            leaves.append(value)
        for number in range(n_methods):
            models = self._models(leaves, job.methods[number], count)
            result = self._buffer(len(leaves), count)
            self._prepared[number].apply(start, models, result)
            leaves.append(result)
        return leaves

    def _models(
        self, leaves: Sequence[Tensor], step: MethodStep, count: int
    ) -> list[Tensor]:
        first = len(leaves) + 1  # the buffer before is for the method's result
        return [
            self._sum(leaves, terms, out=self._buffer(first + at, count))
            for at, terms in enumerate(step.models)
        ]

    def _sum(self, leaves: Sequence[Tensor], terms: Terms, *, out: Tensor) -> Tensor:
        out.zero_()
        for leaf, coefficient in terms:
            out.add_(leaves[leaf] * coefficient)
        return out

    def _count(self, job: TensorJob, start: int) -> int:
        return min(self._chunk_elements, job.n_elements - start)

    def _buffer(self, number: int, count: int) -> Tensor:
        while len(self._buffers) <= number:
            self._buffers.append(torch.empty(self._chunk_elements, dtype=torch.float64))
        return self._buffers[number][:count]
