"""Tensors that are copied bit for bit: integers, markers, schedule buffers."""

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

from release.engine.jobs import Operand, Target, TensorJob
from release.engine.results import Deviation, TensorResult, Written
from release.engine.writer import Sink
from release.formats.checkpoint import Checkpoint
from release.numeric.cast import NUMBER_DTYPES, widen
from release.numeric.digest import Xxh3Bits128

_BLOCK_NBYTES: Final = 4 * 1024 * 1024


class Copier:
    """Copies tensors from their first operand, and compares the others with it.

    Args:
        inputs: Checkpoints that operands refer to by number.
        names: Their names, for messages.
        outputs: Files that targets refer to by number; None only reads.
        advance: Called with the bytes read; may raise to stop.
    """

    def __init__(
        self,
        inputs: Sequence[Checkpoint],
        names: Sequence[str],
        outputs: Sequence[Sink] | None,
        advance: Callable[[int], None],
    ) -> None:
        self._inputs = inputs
        self._names = names
        self._outputs = outputs
        self._advance = advance

    def run(self, job: TensorJob) -> TensorResult:
        """Copy one tensor to every target."""
        result = TensorResult(job.name, job.component)
        source, *witnesses = job.operands
        digest = Xxh3Bits128()
        for offset in range(0, source.entry.nbytes, _BLOCK_NBYTES):
            payload = self._read(source, offset)
            digest.update(payload)
            self._write(job.targets, offset, payload)
        result.operand_digests.append(digest.hexdigest())
        result.written = {
            target.output: Written(
                target.name, digest.hexdigest(), Deviation(job.n_elements)
            )
            for target in job.targets
        }
        for witness in witnesses:
            other = self._digest(witness)
            result.operand_digests.append(other)
            same = other == digest.hexdigest()
            # What no output has, such as the marker of a scale, need not agree.
            agrees = same or not job.targets or not _must_agree(source)
            if not agrees and not self._equal(source, witness):
                result.problems.append(
                    f"differs between {self._names[source.ingredient]} and "
                    f"{self._names[witness.ingredient]}"
                )
        return result

    def _write(self, targets: Sequence[Target], offset: int, payload: bytes) -> None:
        if self._outputs is not None:
            for target in targets:
                self._outputs[target.output].write_at(target.offset + offset, payload)

    def _digest(self, operand: Operand) -> str:
        digest = Xxh3Bits128()
        for offset in range(0, operand.entry.nbytes, _BLOCK_NBYTES):
            digest.update(self._read(operand, offset))
        return digest.hexdigest()

    def _equal(self, source: Operand, witness: Operand) -> bool:
        """Whether a buffer that differs in dtype holds the same numbers.

        Some mergers turn integer buffers into floats; that alone is no difference.
        """
        if source.entry.dtype is witness.entry.dtype:
            return False
        ours, theirs = self._numbers(source), self._numbers(witness)
        return ours is not None and theirs is not None and torch.equal(ours, theirs)

    def _numbers(self, operand: Operand) -> Tensor | None:
        """Return a small tensor in float64; None for dtypes that are not numbers."""
        dtype = NUMBER_DTYPES.get(operand.entry.dtype)
        if dtype is None or operand.entry.nbytes > _BLOCK_NBYTES:
            return None
        raw = torch.frombuffer(bytearray(self._read(operand, 0)), dtype=dtype)
        out = torch.empty(raw.numel(), dtype=torch.float64)
        widen(raw, out)
        return out

    def _read(self, operand: Operand, offset: int) -> bytes:
        window = bytearray(min(_BLOCK_NBYTES, operand.entry.nbytes - offset))
        self._inputs[operand.ingredient].read_into(
            operand.entry, offset, memoryview(window)
        )
        self._advance(len(window))
        return bytes(window)


def _must_agree(source: Operand) -> bool:
    """Integer buffers must be equal; a float buffer may differ in dtype or value."""
    return not source.entry.dtype.is_arithmetic
