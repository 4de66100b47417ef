"""Carry out a plan: stream, seal, publish; either every output appears or none.

torch is loaded by `release.engine.stream`, which is imported when it is needed.
"""

import importlib
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from release.engine.jobs import TensorJob
from release.engine.plan import Ingredient, OutputPlan, Plan, ingredients_text
from release.engine.results import (
    Deviation,
    OutputReport,
    PassReport,
    TensorResult,
)
from release.engine.seal import DataHasher, Seal, Sealer
from release.errors import IntegrityError, visible
from release.formats.checkpoint import SafetensorsCheckpoint
from release.formats.output import OutputFile, require_space
from release.formats.tensor import tensor_set
from release.metadata import INGREDIENTS_KEY, TENSOR_SET_KEY
from release.progress import Advance

if TYPE_CHECKING:
    from release.engine.stream import Pass

_MAX_SEALED_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class PassOptions:
    """How a plan is carried out.

    Attributes:
        overwrite: Whether outputs may replace existing files.
        identifies: Whether to take the SHA-256 of every output, beside that of its data
            section, which its header holds in any case.
        trusts: Whether to go on when the tensors of an ingredient are not those whose
            digests its header carries.
    """

    overwrite: bool = False
    identifies: bool = True
    trusts: bool = False


def total_nbytes(plan: Plan) -> int:
    """Return the bytes that `execute` reports as progress: read, then read back."""
    return plan.read_nbytes + plan.write_nbytes


def execute(
    plan: Plan,
    folder: Path,
    *,
    threads: int,
    advance: Advance,
    options: PassOptions = PassOptions(),  # it cannot be changed
    accept: Callable[[PassReport], None] = lambda _: None,
) -> PassReport:
    """Make every output of `plan` and give it its name.

    Args:
        plan: What to do. Its ingredients are open.
        folder: Where the outputs are written; it exists.
        threads: Worker threads, from 1.
        advance: Progress.
        options: What else is wanted.
        accept: Called with the report before anything becomes visible; may raise.

    Raises:
        ValueRangeError: A value that is not finite, or too large for a target.
        InputError: An ingredient changed or became shorter meanwhile.
        IntegrityError: An ingredient is damaged, by the digests in its own header.
        NoSpaceError: The outputs do not fit, known before any weight is read.
        OutputError: The target exists, or cannot be written; nothing is left.
    """
    require_space(folder, plan.write_nbytes)
    with ExitStack() as stack:
        files = _open_outputs(stack, plan, folder, overwrite=options.overwrite)
        results, data_digests = _stream(plan, files, threads=threads, advance=advance)
        ingredients = ingredient_digests(
            plan.ingredients, plan.jobs, [each.operand_digests for each in results]
        )
        if not options.trusts:
            _check_carried(plan, ingredients)
        sealers = [
            Sealer(output, file, data_sha256, _target_digests(results, number))
            for number, (output, file, data_sha256) in enumerate(
                zip(plan.outputs, files, data_digests, strict=True)
            )
        ]
        for sealer in sealers:
            sealer.write_header({INGREDIENTS_KEY: ingredients_text(ingredients)})
        seals = _seal_all(sealers, advance, identifies=options.identifies)
        reports = (
            _report(output, seals[number], results, number)
            for number, output in enumerate(plan.outputs)
        )
        report = PassReport(tuple(reports), ingredients)
        accept(report)
        _publish_all(files, overwrite=options.overwrite)
    return report


def survey(
    plan: Plan, *, threads: int, advance: Advance
) -> tuple[dict[str, Deviation], ...]:
    """Measure what every output of `plan` would lose, and write nothing.

    Returns:
        For each output, tensor name -> deviation.

    Raises:
        ValueRangeError: As for `execute`.
        InputError: As for `execute`.
    """
    from release.engine.stream import Pass, run_workers

    state = Pass(plan, None, advance)
    run_workers(state, [], threads=threads)
    results = _results(plan, state)
    return tuple(_deviations(results, number) for number in range(len(plan.outputs)))


def _open_outputs(
    stack: ExitStack, plan: Plan, folder: Path, *, overwrite: bool
) -> list[OutputFile]:
    """Reserve the room for every output, and load torch meanwhile.

    Both take about a second, and neither needs the other.
    """
    inputs = [
        path.stat()
        for ingredient in plan.ingredients
        for path in ingredient.checkpoint.files
    ]
    lock = threading.Lock()

    def create(output: OutputPlan) -> OutputFile:
        path = folder / output.name
        file = OutputFile.create(
            path, output.nbytes, overwrite=overwrite, inputs=inputs
        )
        with lock:
            stack.enter_context(file)
        return file

    with ThreadPoolExecutor(max(1, len(plan.outputs)), "krelease-reserve") as pool:
        futures = [pool.submit(create, output) for output in plan.outputs]
        importlib.import_module("release.engine.stream")
    return [future.result() for future in futures]


def _stream(
    plan: Plan, files: Sequence[OutputFile], *, threads: int, advance: Advance
) -> tuple[list[TensorResult], list[str]]:
    from release.engine.stream import Pass, run_workers

    state = Pass(plan, files, advance)
    hashers = [
        DataHasher(file, frontier)
        for file, frontier in zip(files, state.frontiers, strict=True)
    ]
    run_workers(state, [hasher.follow for hasher in hashers], threads=threads)
    return _results(plan, state), [hasher.hexdigest() for hasher in hashers]


def _results(plan: Plan, state: "Pass") -> list[TensorResult]:
    """Return what the pass found.

    Values that are wrong because a file changed meanwhile are blamed on the change.
    """
    for ingredient in plan.ingredients:
        ingredient.checkpoint.check_unchanged()
    return state.results()


def ingredient_digests(
    ingredients: Sequence[Ingredient],
    jobs: Sequence[TensorJob],
    digests: Sequence[Sequence[str]],
) -> dict[str, str]:
    """Return ingredient name -> tensor set digest, of what a whole pass read.

    Args:
        ingredients: What operands refer to by number.
        jobs: All of the pass, so that every tensor is among them.
        digests: For each job, XXH3-128 of its operands.
    """
    found: list[dict[str, str]] = [{} for _ in ingredients]
    for job, of_job in zip(jobs, digests, strict=True):
        for operand, digest in zip(job.operands, of_job, strict=True):
            found[operand.ingredient][job.name] = digest
    return {
        ingredient.name: tensor_set(
            (ingredient.checkpoint.tensors[name] for name in of_ingredient),
            of_ingredient,
        )
        for ingredient, of_ingredient in zip(ingredients, found, strict=True)
    }


def _check_carried(plan: Plan, digests: Mapping[str, str]) -> None:
    """Compare what was read with what the ingredients' own headers say was written."""
    for ingredient in plan.ingredients:
        checkpoint = ingredient.checkpoint
        if not isinstance(checkpoint, SafetensorsCheckpoint):
            continue  # tensors of several files, or under other names
        carried = checkpoint.metadata.get(TENSOR_SET_KEY, "")
        if carried and carried != digests[ingredient.name]:
            raise IntegrityError(
                f"{visible(checkpoint.path, 1024)}: its tensors are not those whose "
                "digests its header carries",
                code="source-damaged",
                hint="krelease verify names the tensors; if another program changed "
                "them and kept the digests, pass --unverified",
            )


def _seal_all(
    sealers: Sequence[Sealer], advance: Advance, *, identifies: bool
) -> list[Seal]:
    """Seal several outputs at once: each is bound by one thread's digests."""
    stopped = threading.Event()
    n_threads = min(max(1, len(sealers)), _MAX_SEALED_AT_ONCE)
    pool = ThreadPoolExecutor(n_threads, "krelease-seal")
    try:
        futures = [
            pool.submit(sealer.seal, advance, stopped, identifies=identifies)
            for sealer in sealers
        ]
        wait(futures, return_when=FIRST_EXCEPTION)
    finally:
        stopped.set()  # after a clean end nobody is left to hear it
        pool.shutdown()
    return [future.result() for future in futures]


def _publish_all(files: Sequence[OutputFile], *, overwrite: bool) -> None:
    """Give every file its name; take the names back when one cannot be given."""
    published: list[Path] = []
    try:
        for file in files:
            file.publish()
            published.append(file.path)
    except BaseException:
        if not overwrite:
            for path in published:
                path.unlink(missing_ok=True)
        raise


def _target_digests(results: Sequence[TensorResult], number: int) -> dict[str, str]:
    """Return digests of all that one output holds, by the names there."""
    found: dict[str, str] = {}
    for result in results:
        if number in result.written:
            written = result.written[number]
            found |= {written.name: written.digest, **written.companions}
    return found


def _deviations(results: Sequence[TensorResult], number: int) -> dict[str, Deviation]:
    """Return tensor name -> deviation in one output, sorted by name."""
    return {
        result.name: result.written[number].deviation
        for result in sorted(results, key=lambda result: result.name)
        if number in result.written
    }


def _report(
    output: OutputPlan, seal: Seal, results: Sequence[TensorResult], number: int
) -> OutputReport:
    component = {result.name: result.component for result in results}
    tensors = _deviations(results, number)
    parts: dict[str, list[Deviation]] = {}
    for name, deviation in tensors.items():
        parts.setdefault(component[name], []).append(deviation)
    components = {name: Deviation.total(parts[name]) for name in sorted(parts)}
    return OutputReport(
        plan=output,
        seal=seal,
        tensor_digests=_target_digests(results, number),
        deviation=Deviation.total(components.values()),
        components=components,
        tensors=tensors,
    )
