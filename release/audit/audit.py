"""The audit: headers, copied tensors, samples, re-execution, judgement."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from release.audit.copied import compare_copied
from release.audit.judge import judge
from release.audit.notes import blind_spots, ingredient_notes
from release.audit.places import Places
from release.audit.question import Evidence, Question
from release.audit.report import AuditReport, Extent, Finding
from release.audit.samples import Sampled, Samples, Task
from release.audit.states import States, states_of, tally_of
from release.audit.tasks import Layout, groups_of, lay_out_audit
from release.audit.verdict import Verdict
from release.convert.source import SourceOptions, open_source
from release.engine.execute import ingredient_digests
from release.engine.jobs import TensorJob
from release.engine.plan import Ingredient
from release.engine.recheck import Rechecked, compared, recheck
from release.formats.tensor import TensorEntry
from release.numeric.dtype import Dtype
from release.progress import Advance, Progress
from release.recipe.fold import fold
from release.recipe.rows import FoldedRecipe
from release.recipe.text import Origin, recipe_of_expression


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """How thoroughly a file is audited.

    Attributes:
        sample: Look at a sample only: a thousandth of the bytes, in seconds.
        threads: Worker threads.
        claimed: Ingredient name -> tensor set digest that the file's header names.
    """

    sample: bool = False
    threads: int = 1
    claimed: Mapping[str, str] | None = None


def any_sum(names: Sequence[str]) -> FoldedRecipe:
    """Return a recipe that stands for any sum of some models, to find out which."""
    text = recipe_of_expression(" + ".join(names), {name: Origin() for name in names})
    return fold(text)


def audit(
    subject: Ingredient,
    question: Question,
    ingredients: Mapping[str, Ingredient],
    options: AuditOptions,
    *,
    progress: Progress,
) -> AuditReport:
    """Find out whether a checkpoint follows a recipe, and if not, what was done.

    Args:
        subject: The checkpoint, open, and how its fp8 weights are to be read.
        question: The recipe; or none, to find the coefficients.
        ingredients: By name, open; some may be missing.
        options: How thoroughly.
        progress: Where the stages are shown.

    Raises:
        UsageError: No model is at hand.
        TensorMismatchError: An ingredient is of another architecture, or lacks tensors.
        ShapeError: A tensor's shape differs between ingredients.
        InputError: A file changed or cannot be read.
    """
    recipe = question.recipe or any_sum(sorted(ingredients))
    layout = lay_out_audit(
        subject, recipe, ingredients, is_declared=question.recipe is not None
    )
    inputs = [each.checkpoint for each in (*layout.ingredients, subject)]
    with progress.stage("sample", _sample_nbytes(layout.tasks)) as advance:
        samples = Samples(inputs, layout.columns, advance)
        sampled = samples.survey(layout.tasks, threads=options.threads)
    found: dict[str, Rechecked] = {}
    if not options.sample and question.recipe is not None:
        found = _recheck(subject, layout, options, progress)
    recast = _recheck_as_cast(
        subject, layout, sampled, found, options=options, progress=progress
    )
    places = Places(groups_of(layout.tasks))
    states = states_of(sampled, found, layout.columns, recast=recast)
    with _explaining(states, progress) as advance:
        samples = Samples(inputs, layout.columns, advance)
        evidence = Evidence(sampled, found, samples, places, options.threads)
        findings = judge(question, evidence, states)
    copied, equal = compare_copied(
        subject,
        layout.ingredients,
        layout.jobs,
        origin="" if question.recipe is None else recipe.copy_from,
    )
    findings += [*layout.findings, *copied]
    for checkpoint in inputs:
        checkpoint.check_unchanged()
    return AuditReport(
        path=subject.checkpoint.path,
        recipe=question.origin,
        recipe_sha256="" if question.recipe is None else question.recipe.sha256(),
        verdict=_verdict(findings),
        extent=_extent(states, sampled, found, equal, len(copied)),
        findings=tuple(findings),
        notes=(
            *layout.notes,
            *ingredient_notes(layout, options.claimed, _digests(layout, found)),
            *blind_spots(sampled, places, layout.columns),
        ),
        missing=question.missing,
    )


def audit_built(
    path: Path,
    recipe: FoldedRecipe,
    ingredients: Sequence[Ingredient],
    *,
    sample: bool,
    threads: int,
    progress: Progress,
) -> AuditReport:
    """Audit a checkpoint that was just built, against what it was built from.

    Args:
        path: The checkpoint, in any variant.
        recipe: What it was built by.
        ingredients: All that the recipe needs, open, as the build's plan has them.
        sample: Look at a sample only.
        threads: Worker threads.
        progress: Where the stages are shown.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        InputError: A file changed or cannot be read.
    """
    question = Question(recipe, None, "what it was built by")
    named = {each.name: each for each in ingredients}
    options = AuditOptions(sample=sample, threads=threads)
    with open_source(path, SourceOptions()) as source:
        subject = Ingredient(source.stem, source.checkpoint, source.layout)
        return audit(subject, question, named, options, progress=progress)


def _explaining(states: States, progress: Progress) -> AbstractContextManager[Advance]:
    """Return a stage for a second look at what does not follow the recipe."""
    tasks = [each.task for each in (*states.failing, *states.open)]
    if not tasks:
        return nullcontext(lambda _: None)
    return progress.stage("explain", _sample_nbytes(tasks))


def _sample_nbytes(tasks: Sequence[Task]) -> int:
    total = 0
    for task in tasks:
        n = sum(count for _, count in task.runs)
        bits = sum(operand.entry.dtype.bits for operand in task.job.operands)
        total += n * (bits + task.dtype.bits) // 8
    return total


def _recheck(
    subject: Ingredient,
    layout: Layout,
    options: AuditOptions,
    progress: Progress,
) -> dict[str, Rechecked]:
    """Compute again whatever can be, and read the rest of the ingredients for digests.

    Returns:
        Tensor name -> what was found, for every job.
    """
    tasks = {task.name: task for task in layout.tasks}
    jobs = [
        _compared(job, tasks[job.name], subject) if job.name in tasks else job
        for job in layout.jobs
    ]
    n_read = sum(job.read_nbytes for job in jobs)
    n_read += sum(t.operand.entry.nbytes for t in layout.tasks)
    with progress.stage("compute again", n_read) as advance:
        results = recheck(
            subject.checkpoint,
            layout.ingredients,
            jobs,
            threads=options.threads,
            advance=advance,
        )
    return {each.name: each for each in results}


def _recheck_as_cast(
    subject: Ingredient,
    layout: Layout,
    sampled: Sequence[Sampled],
    found: Mapping[str, Rechecked],
    *,
    options: AuditOptions,
    progress: Progress,
) -> frozenset[str]:
    """Compute again, by way of a finer file, what does not follow the recipe at once.

    Returns:
        The tensors that equal the recipe so, every value and scale of them.
    """
    jobs: dict[Dtype, list[TensorJob]] = {}
    n_read = 0
    for each in sampled:
        task, known = each.task, found.get(each.task.name)
        is_refuted = each.cast is not None and not each.cast.is_equal
        if known is None or known.counts is None or _is_equal(known):
            continue
        if is_refuted or not task.may_be_cast:
            continue
        jobs.setdefault(task.file_dtype, []).append(_compared(task.job, task, subject))
        n_read += task.job.read_nbytes + task.operand.entry.nbytes
    if not jobs:
        return frozenset()
    equal: list[str] = []
    with progress.stage("compute again as a cast", n_read) as advance:
        for dtype, some in jobs.items():
            results = recheck(
                subject.checkpoint,
                layout.ingredients,
                some,
                threads=options.threads,
                advance=advance,
                through=dtype,
            )
            equal += [each.name for each in results if _is_equal(each)]
    return frozenset(equal)


def _is_equal(found: Rechecked) -> bool:
    counts = found.counts
    return (
        counts is not None and not found.problem and counts.n_equal == counts.n_elements
    )


def _compared(job: TensorJob, task: Task, subject: Ingredient) -> TensorJob:
    """Return a job with the comparison, if all that the recipe says is at hand.

    A weight whose scale is not one F32 number is read for its operands' digests only.
    """
    if task.row is None and not job.methods:
        return job
    scale = None
    if task.operand.scale is not None:
        scale = subject.checkpoint.tensors[task.operand.scale.name]
        if scale.dtype is not Dtype.F32 or scale.n_elements != 1:
            return job
    return compared(job, task.operand.entry, scale=scale)


def _digests(layout: Layout, found: Mapping[str, Rechecked]) -> dict[str, str]:
    """Return ingredient name -> tensor set digest; empty if not all was read."""
    if not found or any(found[job.name].problem for job in layout.jobs):
        return {}
    digests = [found[job.name].operand_digests for job in layout.jobs]
    return ingredient_digests(layout.ingredients, layout.jobs, digests)


def _verdict(findings: Sequence[Finding]) -> Verdict:
    """Return the verdict of the finding of most tensors, grave ones first."""
    bad = [each for each in findings if not each.verdict.follows]
    if bad:
        grave = [each for each in bad if each.verdict.is_grave] or bad
        return max(grave, key=lambda each: len(each.tensors)).verdict
    known = [each.verdict for each in findings]
    order = (Verdict.ROUNDING_ORDER, Verdict.EXACT, Verdict.FITTED)
    return next((each for each in order if each in known), Verdict.UNIDENTIFIABLE)


def _extent(
    states: States,
    sampled: Sequence[Sampled],
    found: Mapping[str, Rechecked],
    copied: Sequence[TensorEntry],
    n_different: int,
) -> Extent:
    """Return how much was compared; `copied` are buffers, whole and equal."""
    tallies = {each.task.name: tally_of(each, found) for each in sampled}
    known = [tally for tally in tallies.values() if tally is not None]
    rechecked = [n for n in tallies if n in found and found[n].counts is not None]
    n_values = sum(entry.n_elements for entry in copied)
    return Extent(
        is_whole=bool(found) and len(rechecked) == len(sampled),
        n_tensors=len(sampled) + len(copied) + n_different,
        n_compared=len(known) + len(copied) + n_different,
        n_equal_tensors=len(states.equal) + len(copied),
        n_near_tensors=len(states.near),
        n_values=n_values + sum(each.task.job.n_elements for each in sampled),
        n_sampled_values=n_values + sum(each.n_sampled for each in sampled),
        n_compared_values=n_values + sum(tally.n for tally in known),
        n_equal_values=n_values + sum(tally.n_equal for tally in known),
        n_near_values=sum(tally.n_near for tally in known),
    )
