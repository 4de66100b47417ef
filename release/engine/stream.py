"""The one pass: workers take tensors in order, all variants are written on the way."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait

from release.engine.kernel import Kernel, TensorResult
from release.engine.plan import OutputPlan, Plan, TensorJob
from release.errors import ValueRangeError, first_names
from release.formats.output import OutputFile


class StoppedError(Exception):
    """Another worker failed, or the user interrupted; never seen outside the engine."""


class Frontier:
    """How far an output is complete from its start, while tensors finish out of order.

    Args:
        output: The plan of the output.
    """

    def __init__(self, output: OutputPlan) -> None:
        self._begins = [
            *(output.header_nbytes + entry.begin for entry in output.entries),
            output.nbytes,
        ]
        self._number = {entry.name: at for at, entry in enumerate(output.entries)}
        self._done = bytearray(len(output.entries))
        self._reached = 0
        self._is_stopped = False
        self._changed = threading.Condition()

    @property
    def begin(self) -> int:
        """Where the data section starts."""
        return self._begins[0]

    @property
    def end(self) -> int:
        """Byte after the data section."""
        return self._begins[-1]

    def finish(self, tensor_name: str) -> None:
        """Record that a tensor is written."""
        with self._changed:
            self._done[self._number[tensor_name]] = 1
            before = self._reached
            while self._reached < len(self._done) and self._done[self._reached]:
                self._reached += 1
            if self._reached != before:
                self._changed.notify_all()

    def stop(self) -> None:
        """Wake whoever waits; they get `StoppedError`."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def wait_beyond(self, position: int) -> int:
        """Wait until more than `position` is complete, and return how much is."""
        with self._changed:
            while self._begins[self._reached] <= position and not self._is_stopped:
                self._changed.wait()
            if self._is_stopped:
                raise StoppedError
            return self._begins[self._reached]


class Pass:
    """The state that the workers of one pass share.

    Args:
        plan: What to do.
        files: The open outputs, in the plan's order.
        on_read: Called with bytes read, from any thread.
    """

    def __init__(
        self, plan: Plan, files: Sequence[OutputFile], on_read: Callable[[int], None]
    ) -> None:
        self.plan = plan
        self.files = files
        self.frontiers = [Frontier(output) for output in plan.outputs]
        self._on_read = on_read
        self._jobs: Iterator[TensorJob] = iter(plan.jobs)
        self._lock = threading.Lock()
        self._results: dict[str, TensorResult] = {}
        self._is_stopped = False

    def work(self) -> None:
        """Run jobs until there are none; the body of one worker thread."""
        kernel = Kernel(
            [ingredient.checkpoint for ingredient in self.plan.ingredients],
            [ingredient.name for ingredient in self.plan.ingredients],
            self.files,
            self._advance,
        )
        while (job := self._next()) is not None:
            result = kernel.run(job)
            self._results[job.name] = result
            for target in job.targets:
                self.frontiers[target.output].finish(job.name)

    def stop(self) -> None:
        """Make every worker and follower end soon."""
        self._is_stopped = True
        for frontier in self.frontiers:
            frontier.stop()

    def results(self) -> list[TensorResult]:
        """Return the results in the plan's order.

        Raises:
            ValueRangeError: A tensor must not be published; names the first five.
        """
        ordered = [self._results[job.name] for job in self.plan.jobs]
        bad = sorted(
            (result for result in ordered if result.problems),
            key=lambda result: result.name,
        )
        if bad:
            names = [f"{result.name} ({result.problems[0]})" for result in bad]
            raise ValueRangeError(
                self.plan.outputs[0].name,
                f"{len(bad)} of {len(ordered)} tensors cannot be written: "
                f"{first_names(names)}",
                hint="mend or replace the ingredient; nothing was written",
            )
        return ordered

    def _next(self) -> TensorJob | None:
        with self._lock:
            return next(self._jobs, None)

    def _advance(self, nbytes: int) -> None:
        if self._is_stopped:
            raise StoppedError
        self._on_read(nbytes)


def run_workers(
    state: Pass, followers: Sequence[Callable[[], None]], *, threads: int
) -> None:
    """Run the pass on `threads` workers, and each follower beside them, to the end.

    The first exception, an interrupt included, stops everything and is raised.
    """
    with ThreadPoolExecutor(threads + len(followers), "krelease") as pool:
        futures: list[Future[None]] = [pool.submit(state.work) for _ in range(threads)]
        futures += [pool.submit(follower) for follower in followers]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            # Harmless after a clean end; after anything else it ends the threads.
            if any(not future.done() or future.exception() for future in futures):
                state.stop()
    errors = [future.exception() for future in futures]
    for error in errors:
        if error is not None and not isinstance(error, StoppedError):
            raise error
