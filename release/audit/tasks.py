"""What is compared with what: the file's tensors, and the jobs that make them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from release.architecture.sdxl import is_copied, sdxl_tensors
from release.audit.fit import Columns
from release.audit.groups import Group, group_of
from release.audit.positions import WHOLE_ELEMENTS, sample_runs
from release.audit.report import Finding
from release.audit.samples import Task
from release.audit.verdict import Verdict
from release.engine.jobs import Operand, TensorJob
from release.engine.plan import Ingredient, plan_pass, tensors_of
from release.errors import UsageError, first_names
from release.formats.tensor import TensorEntry
from release.mixture import check_ingredients, result_tensors, tensor_sources
from release.recipe.cells import part_of
from release.recipe.rows import FoldedRecipe, Row


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything that follows from the headers.

    Attributes:
        ingredients: Those at hand, in the order of summation.
        columns: The same, for fits.
        jobs: All tensors of the ingredients, without targets.
        tasks: Those that the file has and the recipe computes.
        findings: Tensors and shapes that differ.
        notes: What else the headers show.
    """

    ingredients: tuple[Ingredient, ...]
    columns: Columns
    jobs: tuple[TensorJob, ...]
    tasks: tuple[Task, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


def lay_out_audit(
    subject: Ingredient,
    recipe: FoldedRecipe,
    ingredients: Mapping[str, Ingredient],
    *,
    is_declared: bool,
) -> Layout:
    """Compare the headers and return what there is to compare.

    Args:
        subject: The file.
        recipe: What it should be; with `is_declared` false, any sum of the ingredients.
        ingredients: By name; those that the recipe needs and that are at hand.
        is_declared: Whether the coefficients of `recipe` are a claim.

    Raises:
        UsageError: No model is at hand.
        TensorMismatchError: An ingredient is of another architecture, or lacks tensors.
        ShapeError: A tensor's shape differs between ingredients.
    """
    present = {name: ingredients[name] for name in recipe.needed if name in ingredients}
    known = _restricted(recipe, present)
    check_ingredients(known, present)
    used = tuple(present[name] for name in known.needed)
    sources = tensor_sources(known, used)
    jobs = {job.name: job for job in plan_pass(used, sources, []).jobs}
    found = tensors_of(subject)
    findings, notes = _header_findings(found, jobs, result_tensors(known, present))
    columns = Columns(tuple(each.name for each in used), frozenset(recipe.loras))
    names = [name for name in found if _is_compared(found[name], jobs.get(name))]
    groups = {
        name: group_of(name, found[name].shape, recipe.convention) for name in names
    }
    n_large = Counter(
        groups[name] for name in names if found[name].n_elements > WHOLE_ELEMENTS
    )
    tasks = tuple(
        Task(
            job=jobs[name],
            operand=_operand(subject, found[name], len(used)),
            group=groups[name],
            runs=sample_runs(
                name, found[name].n_elements, n_large=n_large[groups[name]]
            ),
            declared=recipe.rows[groups[name].cell] if is_declared else None,
            row=_row(jobs[name], recipe.rows[groups[name].cell], used)
            if is_declared
            else None,
        )
        for name in names
    )
    return Layout(used, columns, tuple(jobs.values()), tasks, findings, notes)


def groups_of(tasks: Sequence[Task]) -> dict[str, Group]:
    """Return tensor name -> group."""
    return {task.name: task.group for task in tasks}


def _restricted(
    recipe: FoldedRecipe, present: Mapping[str, Ingredient]
) -> FoldedRecipe:
    """Return a recipe of the ingredients at hand alone, to plan their reading."""
    models = [name for name in present if name not in recipe.loras]
    if not models:
        raise UsageError(
            "no ingredient is at hand that is a model",
            code="no-ingredients",
            hint=f"pass {' '.join(f'-i {name}=PATH' for name in recipe.needed)}",
        )
    if len(present) == len(recipe.needed):
        return replace(recipe, ingredients=tuple(sorted(present)))
    rows = {
        cell: {name: value for name, value in row.items() if name in present}
        for cell, row in recipe.rows.items()
    }
    is_here = recipe.copy_from in present
    return replace(
        recipe,
        ingredients=tuple(sorted(present)),
        loras=tuple(name for name in recipe.loras if name in present),
        rows=rows,
        methods=(),
        copy_from=recipe.copy_from if is_here else models[0],
        missing=recipe.missing if recipe.keep in {"", *present} else "error",
    )


def _row(
    job: TensorJob, declared: Row, used: Sequence[Ingredient]
) -> Mapping[str, float] | None:
    """Return the coefficients of a tensor if all that they are of is at hand."""
    names = {each.name for each in used}
    if job.methods or any(leaf not in names for leaf in declared):
        return None
    return {used[each.ingredient].name: each.coefficient for each in job.operands}


def _operand(subject: Ingredient, entry: TensorEntry, number: int) -> Operand:
    scale = subject.layout.scales.get(entry.name) if subject.layout else None
    return Operand(number, entry, 1.0, scale)


def _is_compared(entry: TensorEntry, job: TensorJob | None) -> bool:
    return (
        job is not None
        and not job.copied
        and job.shape == entry.shape
        and entry.dtype.is_arithmetic
        and not is_copied(entry.name, entry.dtype)
        and entry.n_elements > 0
    )


def _header_findings(
    found: Mapping[str, TensorEntry],
    jobs: Mapping[str, TensorJob],
    expected: Mapping[str, TensorEntry],
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    optional = {entry.name for entry in sdxl_tensors() if entry.optional}
    parts = {part_of(name) for name in found}
    absent = [name for name in expected if name not in found]
    left_out = sorted({part_of(n).value for n in absent if part_of(n) not in parts})
    lacking = [
        name
        for name in absent
        if part_of(name) in parts
        and name not in optional
        and not is_copied(name, expected[name].dtype)
    ]
    added = [
        name
        for name, entry in found.items()
        if name not in jobs and not is_copied(name, entry.dtype)
    ]
    odd = [
        name
        for name, entry in found.items()
        if name in jobs
        and not jobs[name].copied
        and (entry.shape != jobs[name].shape or not entry.dtype.is_arithmetic)
    ]
    findings = tuple(
        Finding(Verdict.TENSORS, first_names(names, 2), tuple(sorted(names)), text, {})
        for names, text in (
            (lacking, "missing in the file"),
            (added, "in no ingredient"),
            (odd, "of another shape or dtype than the recipe makes"),
        )
        if names
    )
    notes = [f"the file has no tensors of {name}" for name in left_out]
    return findings, tuple(notes)
