"""The audit of a release that was just built, before anything of it is visible."""

from dataclasses import asdict
from pathlib import Path

from release.audit.audit import audit_built
from release.audit.report import audit_sentence
from release.build import BuildPlan
from release.errors import IntegrityError, visible
from release.manifest import AuditRecord
from release.progress import Progress
from release.variants.preset import find_preset


def audit_build(
    plan: BuildPlan, folder: Path, *, threads: int, progress: Progress
) -> AuditRecord:
    """Compute every value of the most exact checkpoint again, and compare.

    Args:
        plan: What was carried out; its ingredients are open.
        folder: Where its outputs are.
        threads: Worker threads.
        progress: Where the stages are shown.

    Raises:
        IntegrityError: `audit`: something came out differently the second time.
        InputError: An ingredient changed meanwhile.
    """
    name = _most_exact(plan)
    report = audit_built(
        folder / name,
        plan.recipe,
        plan.passes.ingredients,
        sample=False,
        threads=threads,
        progress=progress,
    )
    sentence = audit_sentence(report)
    if not report.follows:
        raise IntegrityError(
            f"{visible(name)}: computed a second time, {sentence}",
            code="audit",
            hint="memory, processor or disk is failing: test them; nothing was "
            "published",
        )
    extent = asdict(report.extent)
    return AuditRecord(checkpoint=name, sentence=sentence, **extent)


def _most_exact(plan: BuildPlan) -> str:
    """Return the file of the first variant that is not of reduced precision, if any."""
    outputs = plan.passes.outputs
    full = (each for each in outputs if not find_preset(each.variant).is_reduced)
    return next(full, outputs[0]).name
