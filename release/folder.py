"""The release folder: checkpoints, archives, card, licence, checksums, manifest.

The manifest is written last; a folder without one is unfinished. The whole folder is
filled under a temporary name and appears in one step.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from release.audit.built import audit_build
from release.build import BuildPlan, checkpoint_name, is_stand_in, plan_build
from release.card.archive import archive_members, archive_name, archive_nbytes
from release.card.block_errors import BLOCK_ERRORS_NAME
from release.card.lineage import LINEAGE_NAME
from release.card.presentation import PLAIN_PRESENTATION, Presentation
from release.card.render import render_hub_pages, render_lineage
from release.definition import Definition
from release.engine.execute import execute, total_nbytes
from release.formats.archive import write_stored_zip
from release.formats.checkpoint import Checkpoint
from release.formats.open import open_checkpoint
from release.formats.output import require_space, write_text_file
from release.formats.staging import StagingFolder
from release.ingredients import Located
from release.licences.texts import LicenceTexts, licence_files
from release.lint.built import check_card
from release.manifest import (
    CARD_NAME,
    SCHEMA,
    AuditRecord,
    CheckpointRecord,
    FileRecord,
    IngredientRecord,
    Manifest,
)
from release.metadata import (
    MANIFEST_NAME,
    SHA256_SUMS_NAME,
    XXH128_SUMS_NAME,
)
from release.progress import Progress
from release.records import (
    NOT_MEASURED,
    checkpoint_record,
    count_dtypes,
    file_record,
    planned_record,
    recipe_record,
    sums_nbytes,
    sums_texts,
)

_SMALL_FILES_NBYTES: Final = 8 * 1024 * 1024
"""Room for card and manifest, whose sizes depend on what is measured."""

Role = Literal[
    "checkpoint", "archive", "card", "licence", "picture", "sums", "manifest"
]


_PAGE_ROLES: Final[dict[str, Literal["card", "picture"]]] = {
    CARD_NAME: "card",
    LINEAGE_NAME: "picture",
    BLOCK_ERRORS_NAME: "picture",
}


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file that a build will write; `nbytes` is None where it must be measured."""

    name: str
    role: Role
    nbytes: int | None


def open_all(stack: ExitStack, located: Sequence[Located]) -> dict[str, Checkpoint]:
    """Open every ingredient that is at hand; `stack` closes them.

    Raises:
        CheckpointError: One is not a strict safetensors file.
    """
    return {
        item.name: stack.enter_context(open_checkpoint(item.path))
        for item in located
        if item.path is not None
    }


def planned_files(
    plan: BuildPlan, texts: LicenceTexts | None = None, *, has_pictures: bool = False
) -> tuple[PlannedFile, ...]:
    """Return what `build_folder` will write, with the sizes that are known before."""
    definition = plan.definition
    licences = licence_files(definition, texts)
    sizes = {output.variant: output.nbytes for output in plan.passes.outputs}
    names = [output.name for output in plan.passes.outputs]
    archives = [
        PlannedFile(
            archive_name(definition, variant),
            "archive",
            archive_nbytes(definition, variant, sizes[variant], licences),
        )
        for variant in definition.release.archives
    ]
    summed = [*names, *(archive.name for archive in archives)]
    drawn = [BLOCK_ERRORS_NAME] if has_pictures else []
    summed += [CARD_NAME, *licences, LINEAGE_NAME, *drawn]
    return (
        *(
            PlannedFile(output.name, "checkpoint", output.nbytes)
            for output in plan.passes.outputs
        ),
        *archives,
        *(PlannedFile(n, "licence", len(text)) for n, text in licences.items()),
        PlannedFile(CARD_NAME, "card", None),
        PlannedFile(LINEAGE_NAME, "picture", len(render_lineage(definition).encode())),
        *(PlannedFile(name, "picture", None) for name in drawn),
        PlannedFile(XXH128_SUMS_NAME, "sums", sums_nbytes(summed, 32)),
        PlannedFile(SHA256_SUMS_NAME, "sums", sums_nbytes(summed, 64)),
        PlannedFile(MANIFEST_NAME, "manifest", None),
    )


def planned_nbytes(files: Sequence[PlannedFile]) -> int:
    """Return the room that the files need on the disk."""
    return _SMALL_FILES_NBYTES + sum(file.nbytes or 0 for file in files)


def build_folder(  # noqa: PLR0913  # what a release is made of
    definition: Definition,
    located: Sequence[Located],
    target: Path,
    *,
    threads: int,
    progress: Progress,
    overwrite: bool = False,
    presentation: Presentation = PLAIN_PRESENTATION,
    texts: LicenceTexts | None = None,
) -> Manifest:
    """Build a whole release folder at `target`, or leave nothing.

    Args:
        definition: The release.
        located: Every ingredient, all at hand and checked.
        target: The folder; it does not exist, is empty, or is an older release.
        threads: Worker threads.
        progress: Where the stages are shown.
        overwrite: Whether an older release folder may be replaced.
        presentation: What the card is made with.
        texts: The licence texts that go along; None for the release's own, as known.

    Returns:
        The manifest, as written.

    Raises:
        CheckpointError: An ingredient is damaged, differs in form, or holds NaN.
        OutputError: The target exists, there is no room, or a write failed.
        IntegrityError: Computed a second time, a value came out differently.
        CardError: The card cannot be rendered truthfully.
    """
    if texts is not None:
        located = [replace(i, licence_file=texts.file_of(i.name)) for i in located]
    with ExitStack() as stack:
        checkpoints = open_all(stack, located)
        plan = plan_build(definition, checkpoints)
        for warning in plan.warnings:
            progress.warn(warning)
        staging = stack.enter_context(
            StagingFolder(target, mark=MANIFEST_NAME, overwrite=overwrite)
        )
        files = planned_files(plan, texts, has_pictures=presentation.has_pictures)
        require_space(target.parent, planned_nbytes(files))
        # What no page can be made of is refused now, not after hours of merging.
        render_hub_pages(
            definition,
            _planned_manifest(plan, located, checkpoints),
            presentation=presentation,
        )
        with progress.stage("merge", total_nbytes(plan.passes)) as advance:
            report = execute(
                plan.passes, staging.path, threads=threads, advance=advance
            )
        architecture = definition.release.architecture
        audit = audit_build(plan, staging.path, threads=threads, progress=progress)
        manifest = _manifest(
            plan,
            [
                _ingredient_record(
                    item, checkpoints[item.name], report.ingredients[item.name]
                )
                for item in located
            ],
            [
                checkpoint_record(output, architecture=architecture)
                for output in report.outputs
            ],
            is_rehearsal=any(map(is_stand_in, checkpoints.values())),
            audit=audit,
        )
        manifest = _finish(
            definition,
            manifest,
            staging.path,
            progress,
            presentation=presentation,
            licences=licence_files(definition, texts),
        )
        staging.publish()
    return manifest


def _manifest(
    plan: BuildPlan,
    ingredients: Sequence[IngredientRecord],
    checkpoints: Sequence[CheckpointRecord],
    *,
    is_rehearsal: bool,
    audit: AuditRecord | None = None,
) -> Manifest:
    release = plan.definition.release
    return Manifest(
        schema_name=SCHEMA,
        release=release.name,
        title=release.title,
        tag=release.tag,
        architecture=release.architecture,
        rehearsal=is_rehearsal,
        recipe=recipe_record(plan.definition, plan.recipe),
        ingredients=tuple(ingredients),
        checkpoints=tuple(checkpoints),
        audit=audit,
    )


def _planned_manifest(
    plan: BuildPlan, located: Sequence[Located], checkpoints: Mapping[str, Checkpoint]
) -> Manifest:
    """Return the manifest with nothing measured: for pages that nobody sees."""
    return _manifest(
        plan,
        [
            _ingredient_record(item, checkpoints[item.name], NOT_MEASURED)
            for item in located
        ],
        [
            planned_record(output, architecture=plan.definition.release.architecture)
            for output in plan.passes.outputs
        ],
        is_rehearsal=any(map(is_stand_in, checkpoints.values())),
    )


def _finish(
    definition: Definition,
    manifest: Manifest,
    folder: Path,
    progress: Progress,
    *,
    presentation: Presentation,
    licences: Mapping[str, bytes],
) -> Manifest:
    """Write everything that is not a checkpoint; the manifest last."""
    files = [
        _write_archive(definition, variant, folder, progress, licences=licences)
        for variant in definition.release.archives
    ]
    for name, licence in licences.items():
        write_text_file(folder / name, licence)
        files.append(file_record(folder / name, "licence"))
    manifest = manifest.model_copy(update={"files": tuple(files)})
    pages = render_hub_pages(definition, manifest, presentation=presentation)
    for name, text in pages.items():
        write_text_file(folder / name, text)
        files.append(file_record(folder / name, _PAGE_ROLES[name]))
    check_card(folder, definition, manifest, progress=progress)
    for name, text in sums_texts([*manifest.checkpoints, *files]).items():
        write_text_file(folder / name, text)
        files.append(file_record(folder / name, "sums"))
    manifest = manifest.model_copy(update={"files": tuple(files)})
    write_text_file(folder / MANIFEST_NAME, manifest.to_json())
    return manifest


def _write_archive(
    definition: Definition,
    variant: str,
    folder: Path,
    progress: Progress,
    *,
    licences: Mapping[str, bytes],
) -> FileRecord:
    path = folder / archive_name(definition, variant)
    checkpoint = folder / checkpoint_name(definition, variant)
    members = archive_members(definition, variant, checkpoint, licences)
    with progress.stage(f"pack {path.name}", checkpoint.stat().st_size) as advance:
        write_stored_zip(path, members)
        record = file_record(
            path, "archive", members=tuple(sorted(member.name for member in members))
        )
        advance(checkpoint.stat().st_size)
    return record


def _ingredient_record(
    item: Located, checkpoint: Checkpoint, tensor_set: str
) -> IngredientRecord:
    return IngredientRecord(
        name=item.name,
        title=item.title,
        nbytes=checkpoint.nbytes,
        dtypes=count_dtypes(checkpoint.tensors.values()),
        tensor_set_xxh3_128=tensor_set,
        sha256=item.sha256,
        hub=item.hub_file.repo_id if item.hub_file else None,
        commit=item.hub_file.commit if item.hub_file else None,
        licence=item.licence,
        licence_reason=item.licence_reason,
        licence_file=item.licence_file,
        stand_in=is_stand_in(checkpoint),
    )
