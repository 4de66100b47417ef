"""One tensor at a time, in chunks: read, combine, round, write.

What is read and written is hashed on the way, and what each rounding cost is measured.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

from release.engine.combine import Combiner
from release.engine.copying import Copier
from release.engine.jobs import Operand, TensorJob
from release.engine.measure import Chunk, magnitude
from release.engine.methods.seam import NotFiniteError
from release.engine.mix import Mixer
from release.engine.read import Reader
from release.engine.results import TensorResult
from release.engine.writer import Sink, TargetWriter
from release.formats.checkpoint import Checkpoint
from release.numeric.cast import TORCH_DTYPES, mend_subnormals, narrow, widen
from release.numeric.digest import Xxh3Bits128
from release.numeric.dtype import Dtype

CHUNK_ELEMENTS: Final = 256 * 1024
"""Elements computed at once: few enough for about 12 MiB of buffers per thread, enough
that threads seldom wait for one another between two operations."""


class Kernel:
    """Reused buffers and the loop over a tensor's chunks; one for each thread.

    Args:
        inputs: Checkpoints that operands refer to by number.
        names: Their names, for messages.
        outputs: Files that targets refer to by number; None measures without writing.
        advance: Called with the bytes read after each chunk; may raise to stop.
        through: A dtype that sums are rounded to before a target's, as when a variant
            is made from a file; None for none.
    """

    def __init__(
        self,
        inputs: Sequence[Checkpoint],
        names: Sequence[str],
        outputs: Sequence[Sink] | None,
        advance: Callable[[int], None],
        *,
        through: Dtype | None = None,
    ) -> None:
        self._names = names
        self._through = through
        self._outputs = outputs
        self._reader = Reader(inputs, CHUNK_ELEMENTS, advance)
        self._copier = Copier(inputs, names, outputs, advance)
        self._combiner = Combiner(CHUNK_ELEMENTS)
        self._mixer = Mixer(self._reader, CHUNK_ELEMENTS)
        self._scratch = torch.empty(CHUNK_ELEMENTS, dtype=torch.float32)

    def run(self, job: TensorJob) -> TensorResult:
        """Make one tensor and write it to every target."""
        return self._copier.run(job) if job.copied else self._compute(job)

    def _compute(self, job: TensorJob) -> TensorResult:
        result = TensorResult(job.name, job.component)
        try:
            self._make(job, result)
        except NotFiniteError:
            self._blame(job, result)
        return result

    def _make(self, job: TensorJob, result: TensorResult) -> None:
        self._reader.begin()
        self._mixer.begin(job)
        writers = self._writers(job)
        read = [Xxh3Bits128() for _ in job.operands]
        needs_mending = any(target.dtype is Dtype.BF16 for target in job.targets)
        for start in range(0, job.n_elements, CHUNK_ELEMENTS):
            chunk = self._chunk(job, start, read, mends=needs_mending)
            if not chunk.is_finite:
                self._blame(job, result)
                break
            problem = self._write(chunk, writers)
            if problem:
                result.problems.append(problem)
                break
        result.operand_digests = [digest.hexdigest() for digest in read]
        result.written = {writer.target.output: writer.result() for writer in writers}

    def _writers(self, job: TensorJob) -> list[TargetWriter]:
        writers = [
            TargetWriter(
                target,
                job.n_elements,
                file=None if self._outputs is None else self._outputs[target.output],
                chunk_elements=CHUNK_ELEMENTS,
                scratch=self._scratch,
            )
            for target in job.targets
        ]
        if job.is_scaled:
            greatest = self._greatest(job)
            for writer in writers:
                writer.write_companions(greatest)
        return writers

    def _greatest(self, job: TensorJob) -> float:
        """Return the greatest magnitude of the tensor, in a reading of its own."""
        found = 0.0
        for start in range(0, job.n_elements, CHUNK_ELEMENTS):
            unhashed = [None] * len(job.operands)
            found = max(found, magnitude(self._combine(job, start, unhashed)[2]))
        return found

    @staticmethod
    def _write(chunk: Chunk, writers: Sequence[TargetWriter]) -> str:
        """Write a chunk to every target; return why it must not be published, or ""."""
        for writer in writers:
            writer.write(chunk)
        for writer in writers:
            if writer.overflowed:
                reached = f"{chunk.magnitude():.6g}"
                return f"reaches {reached}, beyond {writer.overflowed}"
        return ""

    def _chunk(
        self, job: TensorJob, start: int, digests: Sequence[Xxh3Bits128], *, mends: bool
    ) -> Chunk:
        source, exact, value = self._combine(job, start, digests)
        if exact is not None and mends:
            mend_subnormals(exact, value)
        return Chunk(start, value, exact, source)

    def _combine(
        self, job: TensorJob, start: int, digests: Sequence[Xxh3Bits128 | None]
    ) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """Return a chunk as read, as float64, and as float32.

        The first is None unless the chunk is one operand as it stands; the second is
        None if float32 is exact.
        """
        count = min(CHUNK_ELEMENTS, job.n_elements - start)
        if job.methods:
            self._combiner.begin(count, [1.0])
            self._combiner.add(self._mixer.chunk(job, start, digests), 1.0)
            return None, *self._combiner.finish()
        used = [operand.coefficient for operand in job.operands if operand.coefficient]
        self._combiner.begin(count, used)
        raw = None
        for operand, digest in zip(job.operands, digests, strict=True):
            raw = self._reader.read(operand, start, count, digest=digest)
            if operand.coefficient != 0.0:
                self._combiner.add(raw, operand.coefficient)
        exact, value = self._combiner.finish()
        if self._through is not None:
            return None, None, _rounded_to(self._through, exact, value)
        stands_alone = len(job.operands) == 1 and used == [1.0]
        return raw if stands_alone else None, exact, value

    def _blame(self, job: TensorJob, result: TensorResult) -> None:
        """Say which ingredient holds the value that is not finite, and where."""
        used = [each for each in job.operands if each.coefficient or job.methods]
        for start in range(0, job.n_elements, CHUNK_ELEMENTS):
            count = min(CHUNK_ELEMENTS, job.n_elements - start)
            for operand in used:
                found = self._first_not_finite(operand, start, count)
                if found:
                    name = self._names[operand.ingredient]
                    result.problems.append(f"{name} holds {found}")
                    result.culprit = operand.ingredient
                    return
        result.problems.append("the result is beyond float32's range")

    def _first_not_finite(self, operand: Operand, start: int, count: int) -> str:
        raw = self._reader.read(operand, start, count, digest=None)
        value = raw if raw.dtype is torch.float64 else self._scratch[:count]
        if value is not raw:
            widen(raw, value)
        bad = ~torch.isfinite(value)
        if not bool(bad.any()):
            return ""
        index = int(bad.nonzero()[0])
        kind = "NaN" if math.isnan(float(value[index])) else "infinity"
        return f"{kind} at element {start + index:,}"


def _rounded_to(dtype: Dtype, exact: Tensor | None, value: Tensor) -> Tensor:
    """Return a chunk as float32 after it was saved in a dtype and read again."""
    if exact is not None and dtype is Dtype.BF16:
        mend_subnormals(exact, value)
    if dtype in {Dtype.F32, Dtype.F64}:
        return value if exact is None else exact.to(torch.float32)
    rounded = torch.empty(value.numel(), dtype=TORCH_DTYPES[dtype])
    narrow(value, rounded)
    return rounded.to(torch.float32)
