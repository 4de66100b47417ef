"""One tensor at a time, in chunks: read, combine, round, write.

What is read and written is hashed on the way, and what each rounding cost is measured.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

from release.engine.combine import Combiner
from release.engine.measure import Chunk, measure
from release.engine.plan import Operand, Target, TensorJob
from release.engine.results import Deviation, TensorResult
from release.formats.checkpoint import Checkpoint
from release.formats.output import OutputFile
from release.numeric.cast import (
    TORCH_DTYPES,
    bytes_of,
    mend_subnormals,
    narrow,
    widen,
)
from release.numeric.digest import Xxh3Bits128
from release.numeric.dtype import Dtype

CHUNK_ELEMENTS: Final = 256 * 1024
"""Elements computed at once: few enough for about 11 MiB of buffers per thread, enough
that threads seldom wait for one another between two operations."""

_COPY_NBYTES: Final = 4 * 1024 * 1024
_MAX_ELEMENT_NBYTES: Final = 8
_INTEGER_DTYPES: Final = {
    Dtype.I64: torch.int64,
    Dtype.I32: torch.int32,
    Dtype.I16: torch.int16,
    Dtype.I8: torch.int8,
    Dtype.U8: torch.uint8,
}
_WIDE: Final = {Dtype.F32, Dtype.F64}
"""Targets rounded from the float64 result itself, not by way of float32."""


class Kernel:
    """Reused buffers and the loop over a tensor's chunks; one for each thread.

    Args:
        inputs: Checkpoints that operands refer to by number.
        names: Their names, for messages.
        outputs: Files that targets refer to by number.
        advance: Called with the bytes read after each chunk; may raise to stop.
    """

    def __init__(
        self,
        inputs: Sequence[Checkpoint],
        names: Sequence[str],
        outputs: Sequence[OutputFile],
        advance: Callable[[int], None],
    ) -> None:
        self._inputs = inputs
        self._names = names
        self._outputs = outputs
        self._advance = advance
        self._raw = torch.empty(CHUNK_ELEMENTS * _MAX_ELEMENT_NBYTES, dtype=torch.uint8)
        self._raw_bytes = bytes_of(self._raw)
        self._combiner = Combiner(CHUNK_ELEMENTS)
        self._back = torch.empty(CHUNK_ELEMENTS, dtype=torch.float32)

    def run(self, job: TensorJob) -> TensorResult:
        """Make one tensor and write it to every target."""
        return self._copy(job) if job.copied else self._compute(job)

    def _compute(self, job: TensorJob) -> TensorResult:
        result = TensorResult(job.name, job.component)
        read = [Xxh3Bits128() for _ in job.operands]
        written = [Xxh3Bits128() for _ in job.targets]
        result.deviations = [Deviation(job.n_elements) for _ in job.targets]
        rounded = [
            torch.empty(
                min(CHUNK_ELEMENTS, job.n_elements), dtype=TORCH_DTYPES[target.dtype]
            )
            for target in job.targets
        ]
        needs_mending = any(target.dtype is Dtype.BF16 for target in job.targets)
        for start in range(0, job.n_elements, CHUNK_ELEMENTS):
            count = min(CHUNK_ELEMENTS, job.n_elements - start)
            exact, value = self._combine(job, start, count, read)
            if exact is not None and needs_mending:
                mend_subnormals(exact, value)
            chunk = Chunk(start, value, exact)
            if not chunk.is_finite:
                result.problems.append(self._blame(job, start, count))
                break
            for number, target in enumerate(job.targets):
                out = rounded[number][:count]
                self._write(chunk, target, out, written[number])
                measure(chunk, out, self._back[:count], into=result.deviations[number])
            problem = _overflow(chunk, job.targets, result.deviations)
            if problem:
                result.problems.append(problem)
                break
        result.operand_digests = [digest.hexdigest() for digest in read]
        result.target_digests = [digest.hexdigest() for digest in written]
        return result

    def _write(
        self, chunk: Chunk, target: Target, out: Tensor, digest: Xxh3Bits128
    ) -> None:
        """Round a chunk into `out` and write it to its place."""
        if chunk.exact is not None and target.dtype in _WIDE:
            out.copy_(chunk.exact)
        else:
            narrow(chunk.value, out)
        payload = bytes_of(out)
        digest.update(payload)
        self._outputs[target.output].write_at(
            target.offset + chunk.start * out.element_size(), payload
        )

    def _combine(
        self, job: TensorJob, start: int, count: int, digests: Sequence[Xxh3Bits128]
    ) -> tuple[Tensor | None, Tensor]:
        """Return the chunk as float64 (None if float32 is exact) and as float32."""
        used = [operand.coefficient for operand in job.operands if operand.coefficient]
        self._combiner.begin(count, used)
        for operand, digest in zip(job.operands, digests, strict=True):
            raw = self._read(operand, start, count, digest)
            if operand.coefficient != 0.0:
                self._combiner.add(raw, operand.coefficient)
        return self._combiner.finish()

    def _read(
        self, operand: Operand, start: int, count: int, digest: Xxh3Bits128
    ) -> Tensor:
        width = operand.entry.dtype.bits // 8
        window = self._raw_bytes[: count * width]
        self._inputs[operand.ingredient].read_into(operand.entry, start * width, window)
        digest.update(window)
        self._advance(count * width)
        return self._raw[: count * width].view(TORCH_DTYPES[operand.entry.dtype])

    def _blame(self, job: TensorJob, start: int, count: int) -> str:
        """Say which ingredient holds the value that is not finite."""
        for operand in job.operands:
            raw = self._read(operand, start, count, Xxh3Bits128())
            value = raw if raw.dtype is torch.float64 else self._back[:count]
            if value is not raw:
                widen(raw, value)
            bad = ~torch.isfinite(value)
            if bool(bad.any()) and operand.coefficient != 0.0:
                index = int(bad.nonzero()[0])
                kind = "NaN" if math.isnan(float(value[index])) else "infinity"
                name = self._names[operand.ingredient]
                return f"{name} holds {kind} at element {start + index:,}"
        return "the result is beyond float32's range"

    def _copy(self, job: TensorJob) -> TensorResult:
        result = TensorResult(job.name, job.component)
        result.deviations = [Deviation(job.n_elements) for _ in job.targets]
        source, *witnesses = job.operands
        digest = Xxh3Bits128()
        for offset in range(0, source.entry.nbytes, _COPY_NBYTES):
            payload = self._read_bytes(source, offset)
            digest.update(payload)
            for target in job.targets:
                self._outputs[target.output].write_at(target.offset + offset, payload)
        result.operand_digests.append(digest.hexdigest())
        result.target_digests = [digest.hexdigest() for _ in job.targets]
        for witness in witnesses:
            other = Xxh3Bits128()
            for offset in range(0, witness.entry.nbytes, _COPY_NBYTES):
                other.update(self._read_bytes(witness, offset))
            result.operand_digests.append(other.hexdigest())
            same = other.hexdigest() == digest.hexdigest()
            if _must_agree(source) and not same and not self._equal(source, witness):
                result.problems.append(
                    f"differs between {self._names[source.ingredient]} and "
                    f"{self._names[witness.ingredient]}"
                )
        return result

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
        dtype = {**TORCH_DTYPES, **_INTEGER_DTYPES}.get(operand.entry.dtype)
        if dtype is None or operand.entry.nbytes > _COPY_NBYTES:
            return None
        raw = torch.frombuffer(bytearray(self._read_bytes(operand, 0)), dtype=dtype)
        out = torch.empty(raw.numel(), dtype=torch.float64)
        widen(raw, out)
        return out

    def _read_bytes(self, operand: Operand, offset: int) -> bytes:
        window = bytearray(min(_COPY_NBYTES, operand.entry.nbytes - offset))
        self._inputs[operand.ingredient].read_into(
            operand.entry, offset, memoryview(window)
        )
        self._advance(len(window))
        return bytes(window)


def _overflow(
    chunk: Chunk, targets: Sequence[Target], deviations: Sequence[Deviation]
) -> str:
    """Say which target has become infinite; empty when none has."""
    for target, deviation in zip(targets, deviations, strict=True):
        if math.isinf(deviation.max_abs_error):
            limit = f"{target.dtype.code}'s {target.dtype.finite_max:.6g}"
            return f"reaches {chunk.magnitude():.6g}, beyond {limit}"
    return ""


def _must_agree(source: Operand) -> bool:
    """Integer buffers must be equal; a float buffer may differ in dtype or value."""
    return not source.entry.dtype.is_arithmetic
