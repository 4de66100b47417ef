"""The one pass: workers take tensors in order, all variants are written on the way."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path

import torch

from release.engine.frontier import Frontier, StoppedError
from release.engine.jobs import TensorJob
from release.engine.kernel import Kernel
from release.engine.plan import Plan
from release.engine.results import TensorResult
from release.errors import ValueRangeError, first_names
from release.formats.output import OutputFile


class Pass:
    """The state that the workers of one pass share.

    Args:
        plan: What to do.
        files: The open outputs, in the plan's order; None measures without writing.
        on_read: Called with bytes read, from any thread.
    """

    def __init__(
        self,
        plan: Plan,
        files: Sequence[OutputFile] | None,
        on_read: Callable[[int], None],
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
                frontier = self.frontiers[target.output]
                frontier.finish(target.name)
                if target.companions:
                    for name in target.companions.names:
                        frontier.finish(name)

    def stop(self) -> None:
        """Make every worker and follower end soon."""
        self._is_stopped = True
        for frontier in self.frontiers:
            frontier.stop()

    def results(self) -> list[TensorResult]:
        """Return the results in the plan's order.

        Raises:
            ValueRangeError: A tensor must not be published; names the first five, and
                the file of the first ingredient at fault.
        """
        ordered = [self._results[job.name] for job in self.plan.jobs]
        bad = sorted(
            (result for result in ordered if result.problems),
            key=lambda result: result.name,
        )
        if bad:
            names = [f"{result.name} ({result.problems[0]})" for result in bad]
            raise ValueRangeError(
                self._place(bad),
                f"{len(bad)} of {len(ordered)} tensors cannot be written: "
                f"{first_names(names)}",
                hint="nothing was written: mend or replace the input; what is beyond "
                "fp16 fits bf16 and fp32",
            )
        return ordered

    def _place(self, bad: Sequence[TensorResult]) -> Path | str:
        """Return the file that has to be mended; the output's name if there is none."""
        for result in bad:
            if result.culprit is not None:
                return self.plan.ingredients[result.culprit].checkpoint.path
        return self.plan.outputs[0].name

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
    torch.set_num_threads(1)  # one chunk is one core's work; the workers are ours
    pool = ThreadPoolExecutor(threads + len(followers), "krelease")
    futures: list[Future[None]] = []
    try:
        futures += [pool.submit(state.work) for _ in range(threads)]
        futures += [pool.submit(follower) for follower in followers]
        wait(futures, return_when=FIRST_EXCEPTION)
    except BaseException:
        state.stop()
        raise
    finally:
        if any(future.done() and future.exception() for future in futures):
            state.stop()
        pool.shutdown()
    for future in futures:
        error = future.exception()
        if error is not None and not isinstance(error, StoppedError):
            raise error
