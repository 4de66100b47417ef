"""`krelease publish`."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from release.cli.app import session
from release.cli.built import build_document, build_paths, build_text, check_line
from release.cli.definitions import load
from release.cli.options import (
    DefinitionOption,
    DryRunOption,
    ForceOption,
    IngredientOption,
    JsonOption,
    PicturesOption,
    QuietOption,
    ReleaseArgument,
    TemplatesOption,
    ThreadsOption,
    parse_ingredients,
)

_KEPT_IF_SAME: Final = (
    "it is used as it is if it holds this very release, and refused otherwise"
)
_REPLACED: Final = "it would be replaced"

if TYPE_CHECKING:
    from release.card.presentation import Presentation
    from release.console import Console
    from release.definition import Definition
    from release.hub.staged_release import PublishResult
    from release.licences.texts import LicenceTexts
    from release.preview import Preview
    from release.publish import Built


@dataclass(frozen=True, slots=True)
class _Job:
    """What is to be published, and how; `base` is where its relative paths start."""

    definition: "Definition"
    base: Path
    given: Mapping[str, Path]
    target: Path
    force: bool
    presentation: "Presentation"


def publish(
    release: ReleaseArgument = None,
    definition: DefinitionOption = None,
    ingredient: IngredientOption = None,
    rehearse: Annotated[
        bool,
        typer.Option(
            "--rehearse",
            help="The whole job against a Hub on loopback, with narrow stand-ins for"
            " ingredients that are not given.",
        ),
    ] = False,
    repo: Annotated[
        str | None,
        typer.Option(
            "--repo",
            metavar="OWNER/NAME",
            help="Another repository than the one in the definition.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Release folder. If not given: ./RELEASE, or ./RELEASE-rehearsal.",
        ),
    ] = None,
    templates: TemplatesOption = None,
    pictures: PicturesOption = False,
    dry_run: DryRunOption = False,
    force: ForceOption = False,
    threads: ThreadsOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Build a release, push it in one change, fetch it back as proof.

    Hub and token are those that huggingface_hub is configured with (HF_ENDPOINT,
    HF_TOKEN, or a login). Running it again does only what is left.

    Example: krelease publish gamma-rev2 --rehearse
    """
    with session(as_json=json, quiet=quiet) as console:
        from release.card.presentation import presentation_of
        from release.definition import with_repo
        from release.threads import choose_threads

        wanted, base = load(release, definition)
        if repo is not None:
            wanted = with_repo(wanted, repo)
        name = wanted.release.name
        target = out or Path(f"{name}-rehearsal" if rehearse else name)
        n_threads = choose_threads(threads)
        given = parse_ingredients(ingredient)
        shown = presentation_of(
            wanted, base, templates=templates, has_pictures=pictures
        )
        job = _Job(wanted, base, given, target, force, shown)
        if dry_run:
            _preview(console, job, rehearse=rehearse)
        elif rehearse:
            _rehearse(console, job, threads=n_threads)
        else:
            _publish(console, job, threads=n_threads)


def _preview(console: "Console", job: _Job, *, rehearse: bool) -> None:
    from release.cli.previews import preview_document, preview_paths, preview_text
    from release.ingredients import require_all

    preview = _rehearsal_plan(job) if rehearse else _plan(job, console.note)
    document = {"release": job.definition.release.name, "rehearsal": rehearse}
    text = preview_text(preview, occupied=_REPLACED if job.force else _KEPT_IF_SAME)
    if rehearse:
        text.append(f"Hub: on loopback, its repositories below {job.target / 'hub'}")
    console.result(
        "krelease.publish-plan/1",
        document | preview_document(preview),
        text,
        brief=preview_paths(preview),
    )
    if not rehearse:
        require_all(preview.located)


def _rehearsal_plan(job: _Job) -> "Preview":
    from release.rehearse import preview_rehearsal

    return preview_rehearsal(
        job.definition,
        job.given,
        job.target,
        has_pictures=job.presentation.has_pictures,
        texts=_rehearsal_texts(job),
    )


def _rehearsal_texts(job: _Job) -> "LicenceTexts":
    """Return the texts that are here; a stand-in misses none."""
    from release.acquire import gather_texts

    texts = gather_texts(job.definition, (), base=job.base)
    return replace(texts, warnings=())


def _plan(job: _Job, note: Callable[[str], None]) -> "Preview":
    from release.acquire import gather_texts, locate_with_hub
    from release.hub.client import connect
    from release.hub.plan import preview_release
    from release.preview import preview_build

    located = locate_with_hub(
        job.definition, job.given, base=job.base, note=note, is_plan=True
    )
    texts = gather_texts(job.definition, located, base=job.base)
    preview = preview_build(
        job.definition,
        located,
        job.target,
        has_pictures=job.presentation.has_pictures,
        texts=texts,
    )
    identity = job.definition.release
    sizes = {file.name: file.nbytes for file in preview.files}
    with connect() as connection:
        hub = preview_release(connection, identity.repo, identity.tag, sizes)
    return replace(preview, hub=hub)


def _rehearse(console: "Console", job: _Job, *, threads: int) -> None:
    from release.rehearse import rehearse

    done = rehearse(
        job.definition,
        job.given,
        job.target,
        threads=threads,
        progress=console,
        note=console.note,
        overwrite=job.force,
        presentation=job.presentation,
        texts=_rehearsal_texts(job),
    )
    git = done.git_directory
    document = _document(done.built, done.published)
    document |= {"git_directory": str(git), "stand_ins": list(done.stand_ins)}
    show_log = f"git --git-dir {shlex.quote(str(git))} log --oneline --decorate main"
    # The Hub is stopped by now, so its address leads nowhere.
    text = [*_text(done.built, done.published), f"proof:  {show_log}"]
    if done.stand_ins:
        made = ", ".join(done.stand_ins)
        text.append(f"This was a rehearsal: {made}: random values, not weights.")
    _show(console, done.built, document, text)


def _publish(console: "Console", job: _Job, *, threads: int) -> None:
    from release.acquire import acquire, gather_texts, locate_with_hub
    from release.hub.client import connect
    from release.ingredients import require_real

    wanted = job.definition
    located = locate_with_hub(wanted, job.given, base=job.base, note=console.note)
    texts = gather_texts(wanted, located, base=job.base)
    for warning in texts.warnings:
        console.warn(warning)
    from release.publish import ensure_folder, push, require_access  # torch: late

    with connect() as connection:
        require_access(connection)
        is_public = not connection.is_local
    located = acquire(located, note=console.note)
    if is_public:
        require_real(located)
    built = ensure_folder(
        wanted,
        located,
        job.target,
        threads=threads,
        progress=console,
        overwrite=job.force,
        presentation=job.presentation,
        texts=texts,
    )
    with connect() as connection:
        published = push(
            built,
            connection,
            repo_id=wanted.release.repo,
            summary=wanted.release.summary,
            note=console.note,
            progress=console,
        )
    for warning in published.warnings:
        console.warn(warning)
    text = [*_text(built, published), f"files:  {published.url}"]
    _show(console, built, _document(built, published), text)


def _show(
    console: "Console", built: "Built", document: Mapping[str, object], text: list[str]
) -> None:
    paths = build_paths(built.manifest, built.folder)
    console.result("krelease.publish/1", document, text, brief=paths)


def _document(built: "Built", published: "PublishResult") -> dict[str, object]:
    return {
        **build_document(built.manifest, built.folder),
        "built": built.is_new,
        "repo": published.repo_id,
        "tag": published.tag,
        "commit": published.commit,
        "url": published.url,
        "already_published": published.already_published,
        "n_uploaded": published.n_uploaded,
        "n_unchanged": published.n_unchanged,
        "kept": list(published.foreign),
    }


def _text(built: "Built", published: "PublishResult") -> list[str]:
    from release.manifest import CARD_NAME

    if published.already_published:
        state = "Nothing to do: already published as"
    else:
        state = "Published, fetched back and compared:"
    return [
        *build_text(built.manifest, built.folder),
        f"{state} {published.repo_id} tag {published.tag}, commit {published.commit}",
        f"card:   {built.folder / CARD_NAME}",
        check_line(built.folder),
    ]
