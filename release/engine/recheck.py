"""A pass whose results are compared with a checkpoint instead of being written.

The very code that merges computes every tensor again; where it would write, the bytes
of the checkpoint are read and compared. So what is equal here is equal bit for bit.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from release.engine.jobs import Companions, Target, TensorJob
from release.engine.kernel import CHUNK_ELEMENTS, Kernel
from release.engine.parallel import run_all
from release.engine.plan import Ingredient
from release.formats.checkpoint import Checkpoint
from release.formats.tensor import TensorEntry
from release.numeric.dtype import Dtype
from release.numeric.grid import Float64Array

_MAX_ELEMENT_NBYTES: Final = 8
_SCALE_NBYTES: Final = 4
_SIGNED: Final = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}


@dataclass(frozen=True, slots=True)
class Counts:
    """How the elements of a tensor compare with what was expected.

    Attributes:
        n_elements: All of them; a scale that goes with them counts as one more.
        n_equal: Equal bit for bit.
        n_near: Not equal, but neighbours in the dtype, or zeros of different sign.
        worst: The greatest distance, in units of the last place.
    """

    n_elements: int
    n_equal: int
    n_near: int
    worst: int

    @property
    def n_far(self) -> int:
        """Elements that are neither equal nor neighbours."""
        return self.n_elements - self.n_equal - self.n_near


@dataclass(frozen=True, slots=True)
class Rechecked:
    """What the re-execution of one tensor found.

    Attributes:
        name: The tensor.
        counts: How it compares; None where it is not compared.
        operand_digests: XXH3-128 of every operand, in the job's order.
        problem: Why it cannot be computed, "" if it can.
    """

    name: str
    counts: Counts | None
    operand_digests: tuple[str, ...]
    problem: str


def compared(
    job: TensorJob, entry: TensorEntry, *, scale: TensorEntry | None
) -> TensorJob:
    """Return a job whose one target is compared with a checkpoint's tensor.

    Args:
        job: What the tensor should be.
        entry: The tensor as the checkpoint has it.
        scale: The F32 number that its values are multiplied by, if there is one.
    """
    companions = None
    if scale is not None:
        # Places that no element has; `Comparison` knows them.
        at = entry.nbytes
        companions = Companions(scale.name, at, "", at + _SCALE_NBYTES, b"")
    target = Target(0, entry.name, entry.dtype, 0, clamps=True, companions=companions)
    return TensorJob(
        name=job.name,
        component=job.component,
        shape=job.shape,
        copied=job.copied,
        operands=job.operands,
        targets=(target,),
        methods=job.methods,
    )


def recheck(
    subject: Checkpoint,
    ingredients: Sequence[Ingredient],
    jobs: Sequence[TensorJob],
    *,
    threads: int,
    advance: Callable[[int], None],
    through: Dtype | None = None,
) -> list[Rechecked]:
    """Run jobs of `compared`, or without targets for the digests of operands.

    Args:
        subject: What is compared.
        ingredients: What operands refer to by number.
        jobs: The tensors.
        threads: Worker threads; each holds some 15 MiB.
        advance: Called with bytes read, from any thread; may raise to stop.
        through: A dtype that sums are rounded to first, as when a variant is made from
            a file; None for none.

    Raises:
        InputError: A file changed or cannot be read.
    """
    torch.set_num_threads(1)
    local = threading.local()

    def run(job: TensorJob) -> Rechecked:
        if not hasattr(local, "worker"):
            local.worker = _Worker(subject, ingredients, advance, through)
        worker: _Worker = local.worker
        return worker.run(job)

    return run_all(run, jobs, threads=threads)


class _Worker:
    """A kernel, and what stands where its output would be."""

    def __init__(
        self,
        subject: Checkpoint,
        ingredients: Sequence[Ingredient],
        advance: Callable[[int], None],
        through: Dtype | None,
    ) -> None:
        self._subject = subject
        self._comparison = Comparison(subject, advance)
        self._kernel = Kernel(
            [each.checkpoint for each in ingredients],
            [each.name for each in ingredients],
            [self._comparison],
            advance,
            through=through,
        )

    def run(self, job: TensorJob) -> Rechecked:
        for target in job.targets:
            self._comparison.begin(target, self._subject.tensors[target.name])
        result = self._kernel.run(job)
        return Rechecked(
            job.name,
            self._comparison.counts() if job.targets else None,
            tuple(result.operand_digests),
            result.problems[0] if result.problems else "",
        )


class Comparison:
    """Takes the place of an output, and counts what differs from a checkpoint.

    Args:
        subject: The checkpoint.
        advance: Called with bytes read; may raise to stop.
    """

    def __init__(self, subject: Checkpoint, advance: Callable[[int], None]) -> None:
        self._subject = subject
        self._advance = advance
        self._buffer = np.empty(CHUNK_ELEMENTS * _MAX_ELEMENT_NBYTES, np.uint8)
        self._entry: TensorEntry | None = None
        self._scale: TensorEntry | None = None

    def begin(self, target: Target, entry: TensorEntry) -> None:
        """Begin the comparison with one tensor."""
        names = target.companions
        self._entry = entry
        self._scale = None if names is None else self._subject.tensors[names.scale]
        self._n_elements = self._n_equal = self._n_near = self._worst = 0

    def write_at(self, offset: int, data: memoryview | bytes) -> None:
        """Compare `data` with what the tensor has at `offset`."""
        entry = self._entry
        if entry is None:
            raise AssertionError("a comparison has to begin")
        if offset < entry.nbytes:
            self._compare(entry, offset, data)
        elif offset == entry.nbytes and self._scale is not None:
            self._compare(self._scale, 0, data)

    def counts(self) -> Counts:
        """Return what was counted since `begin`."""
        return Counts(self._n_elements, self._n_equal, self._n_near, self._worst)

    def _compare(
        self, entry: TensorEntry, offset: int, data: memoryview | bytes
    ) -> None:
        expected = np.frombuffer(data, np.uint8)
        found = self._buffer[: expected.size]
        self._subject.read_into(entry, offset, found.data)
        self._advance(found.size)
        kind = _SIGNED[entry.dtype.bits // 8]
        ours, theirs = expected.view(kind), found.view(kind)
        differs = ours != theirs
        n_different = int(np.count_nonzero(differs))
        self._n_elements += ours.size
        self._n_equal += ours.size - n_different
        if n_different:
            distances = _distances(ours[differs], theirs[differs], entry.dtype)
            self._n_near += int(np.count_nonzero(distances <= 1))
            self._worst = max(self._worst, int(distances.max()))


def _distances(
    ours: NDArray[np.signedinteger],
    theirs: NDArray[np.signedinteger],
    dtype: Dtype,
) -> Float64Array:
    """Return how many values of the dtype apart elements are."""

    def places(bits: NDArray[np.signedinteger]) -> Float64Array:
        # Sign and magnitude to one line, on which both zeros are 0.
        wide = bits.astype(np.float64)
        return np.where(bits < 0, -(wide + 2.0 ** (dtype.bits - 1)), wide)

    distances: Float64Array = np.abs(places(ours) - places(theirs))
    return distances
