"""The difference of two checkpoints, layer by layer, written as the factors of a LoRA.

A layer takes its difference as a matrix, and room for its factors; layers run side by
side only as long as that fits into a fixed number of bytes, or one is larger alone.
"""

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from release.engine.difference import subtract
from release.engine.jobs import Operand
from release.engine.low_rank import LowRank, held_nbytes, low_rank
from release.engine.methods.seam import NotFiniteError
from release.engine.parallel import Room, run_all
from release.engine.plan import OutputPlan
from release.engine.read import Reader
from release.engine.seal import Seal, Sealer
from release.errors import ValueRangeError, visible
from release.formats.checkpoint import Checkpoint
from release.formats.output import OutputFile
from release.formats.scan import scan
from release.numeric.cast import bytes_of, round_to
from release.numeric.digest import Sha256, xxh3_128
from release.numeric.dtype import Dtype
from release.numeric.memory import return_large_blocks

_CHUNK_ELEMENTS: Final = 256 * 1024
_HELD_NBYTES_MAX: Final = 128 * 2**20
"""What layers that run side by side hold together."""


@dataclass(frozen=True, slots=True)
class LayerJob:
    """One layer whose difference is to be written.

    Attributes:
        names: What the output calls the factors up and down, and alpha.
        operands: Where the layer lies in the first and in the second checkpoint.
        start: First element of the layer in its tensor.
        shape: Of the layer.
        rank: Of the factors; no more than the shape allows.
    """

    names: tuple[str, str, str]
    operands: tuple[Operand, Operand]
    start: int
    shape: tuple[int, ...]
    rank: int

    @property
    def n_elements(self) -> int:
        """Product of the dimensions."""
        return math.prod(self.shape)

    @property
    def held_nbytes(self) -> int:
        """About the most bytes that it takes in memory, up to those there are."""
        return min(held_nbytes(self.shape, self.rank), _HELD_NBYTES_MAX)

    @property
    def read_nbytes(self) -> int:
        """Bytes read from both operands."""
        bits = sum(operand.entry.dtype.bits for operand in self.operands)
        return self.n_elements * bits // 8


@dataclass(frozen=True, slots=True)
class LayerResult:
    """What a layer became.

    `relative_error` is the norm of what is missing divided by that of the difference;
    `digests` are the XXH3-128 of its tensors, in hex.
    """

    relative_error: float
    digests: Mapping[str, str]


def write_layers(
    inputs: Sequence[Checkpoint],
    jobs: Sequence[LayerJob],
    output: OutputPlan,
    file: OutputFile,
    *,
    dtype: Dtype,
    threads: int,
    advance: Callable[[int], None],
) -> list[LayerResult]:
    """Decompose every layer and write its factors where the plan has them.

    Args:
        inputs: The two checkpoints.
        jobs: The layers; each differs somewhere.
        output: Where the tensors go.
        file: The same, open.
        dtype: Of the factors.
        threads: Worker threads; the result does not depend on it.
        advance: Called with bytes read when a layer is done; may raise to stop.

    Returns:
        In the order of the jobs.

    Raises:
        ValueRangeError: A layer holds values that are not finite, or its factors are
            beyond `dtype`.
        InputError: A file changed or cannot be read.
    """
    return_large_blocks()
    room = Room(_HELD_NBYTES_MAX)
    places = {each.name: output.header_nbytes + each.begin for each in output.entries}

    def run(job: LayerJob) -> LayerResult:
        with room.taken(job.held_nbytes):
            found = _decomposed(inputs, job, dtype, advance)
            result = _write(job, found, dtype, file, places)
        advance(job.read_nbytes)
        return result

    # The largest first, so that no thread is left with one at the end.
    order = sorted(range(len(jobs)), key=lambda number: -jobs[number].held_nbytes)
    found = run_all(run, [jobs[number] for number in order], threads=threads)
    results = dict(zip(order, found, strict=True))
    return [results[number] for number in range(len(jobs))]


def seal(
    output: OutputPlan,
    file: OutputFile,
    digests: Mapping[str, str],
    facts: Mapping[str, str],
    *,
    advance: Callable[[int], None],
) -> Seal:
    """Write the header of a file whose data is complete, and read everything back.

    Args:
        output: The plan of the file.
        file: The file.
        digests: XXH3-128 of every tensor, in hex.
        facts: Metadata in the place of placeholders.
        advance: Called with bytes read back.

    Raises:
        WriteError: The file does not read back as it was written.
    """
    data = Sha256()
    scan(file, output.header_nbytes, output.nbytes, data)
    sealer = Sealer(output, file, data.hexdigest(), digests)
    sealer.write_header(facts)
    return sealer.seal(advance, threading.Event(), identifies=False)


def _decomposed(
    inputs: Sequence[Checkpoint],
    job: LayerJob,
    dtype: Dtype,
    advance: Callable[[int], None],
) -> LowRank:
    try:
        difference = subtract(job.shape, _chunks(inputs, job, advance))
    except NotFiniteError as error:
        raise _not_finite(inputs, job, error) from error
    found = low_rank(difference, rank=job.rank, dtype=dtype)
    operand = job.operands[1]
    if found is None:
        raise ValueRangeError(
            inputs[operand.ingredient].path,
            f"the difference of {visible(operand.entry.name)} is too small for "
            "float32, expected at least 1e-45 somewhere",
            code="factor-range",
            hint="pass models that differ by more",
        )
    if not math.isfinite(found.relative_error):
        raise ValueRangeError(
            inputs[operand.ingredient].path,
            f"the difference of {visible(operand.entry.name)} has factors beyond "
            f"{dtype.code}, expected at most {dtype.finite_max:g}",
            code="factor-range",
            hint="pass --dtype fp32",
        )
    return found


def _chunks(
    inputs: Sequence[Checkpoint], job: LayerJob, advance: Callable[[int], None]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the layer of both checkpoints; tensors are reused."""
    length = min(_CHUNK_ELEMENTS, job.n_elements)
    readers = [Reader(inputs, length, advance) for _ in job.operands]
    for at in range(0, job.n_elements, _CHUNK_ELEMENTS):
        count = min(_CHUNK_ELEMENTS, job.n_elements - at)
        before, after = (
            reader.read(operand, job.start + at, count, digest=None)
            for reader, operand in zip(readers, job.operands, strict=True)
        )
        yield before, after


def _write(
    job: LayerJob,
    found: LowRank,
    dtype: Dtype,
    file: OutputFile,
    places: Mapping[str, int],
) -> LayerResult:
    alpha = round_to(torch.tensor([found.alpha], dtype=torch.float32), dtype)
    digests = {}
    for name, tensor in zip(job.names, (found.up, found.down, alpha), strict=True):
        data = bytes_of(tensor.view(-1))
        file.write_at(places[name], data)
        digests[name] = xxh3_128(data)
    return LayerResult(found.relative_error, digests)


def _not_finite(
    inputs: Sequence[Checkpoint], job: LayerJob, error: NotFiniteError
) -> ValueRangeError:
    operand = job.operands[error.argument]
    where = (
        "" if error.element is None else f" at element {job.start + error.element:,}"
    )
    return ValueRangeError(
        inputs[operand.ingredient].path,
        f"tensor {visible(operand.entry.name)}: a value is not finite, or too large to "
        f"be squared{where}; expected finite weights",
        code="not-finite",
        hint="nothing was written: mend or replace the file",
    )
