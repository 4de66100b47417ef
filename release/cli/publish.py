"""`krelease publish`."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from release.cli.app import session
from release.cli.build import build_document, build_text
from release.cli.definitions import load
from release.cli.options import (
    DefinitionOption,
    DryRunOption,
    ForceOption,
    IngredientOption,
    JsonOption,
    QuietOption,
    ReleaseArgument,
    ThreadsOption,
    parse_ingredients,
)

_CARD_NAME: Final = "README.md"

if TYPE_CHECKING:
    from release.console import Console
    from release.definition import Definition
    from release.hub.staged_release import PublishResult
    from release.publish import Built


def publish(
    release: ReleaseArgument = None,
    definition: DefinitionOption = None,
    ingredient: IngredientOption = None,
    rehearse: Annotated[
        bool,
        typer.Option(
            "--rehearse",
            help="The whole job on narrow stand-ins, against a Hub on loopback.",
        ),
    ] = False,
    repo: Annotated[
        str | None,
        typer.Option(
            "--repo",
            metavar="OWNER/NAME",
            help="Another repository than the release's.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Release folder.",
            show_default="./RELEASE, or ./RELEASE-rehearsal",
        ),
    ] = None,
    dry_run: DryRunOption = False,
    force: ForceOption = False,
    threads: ThreadsOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Build a release, push it as one visible change, and fetch it back to prove it.

    Endpoint and token are those that huggingface_hub is configured with (HF_ENDPOINT,
    HF_TOKEN, or a login). Running it again does only what is left.

    Example: krelease publish gamma-rev2 --rehearse
    """
    with session(as_json=json, quiet=quiet) as console:
        from release.definition import with_repo
        from release.threads import choose_threads

        wanted, base = load(release, definition)
        if repo is not None:
            wanted = with_repo(wanted, repo)
        given = parse_ingredients(ingredient)
        name = wanted.release.name
        if dry_run:
            target = out or Path(f"{name}-rehearsal" if rehearse else name)
            _preview(console, wanted, given, base, target, rehearse=rehearse)
        elif rehearse:
            n_threads = choose_threads(threads)
            root = out or Path(f"{name}-rehearsal")
            _rehearse(console, wanted, given, root, threads=n_threads, force=force)
        else:
            n_threads = choose_threads(threads)
            target = out or Path(name)
            _publish(
                console, wanted, given, base, target, threads=n_threads, force=force
            )


def _preview(
    console: "Console",
    wanted: "Definition",
    given: Mapping[str, Path],
    base: Path,
    target: Path,
    *,
    rehearse: bool,
) -> None:
    from release.acquire import locate_with_hub
    from release.cli.previews import preview_document, preview_text
    from release.hub.client import connect
    from release.hub.plan import preview_release
    from release.ingredients import require_all
    from release.preview import preview_build

    if rehearse:
        from release.rehearse import preview_rehearsal

        preview = preview_rehearsal(wanted, given, target)
    else:
        located = locate_with_hub(wanted, given, base=base)
        preview = preview_build(wanted, located, target)
        with connect() as connection:
            sizes = {file.name: file.nbytes for file in preview.files}
            hub = preview_release(
                connection, wanted.release.repo, wanted.release.tag, sizes
            )
        preview = replace(preview, hub=hub)
    console.result(
        "krelease.publish-plan/1",
        {"release": wanted.release.name, **preview_document(preview)},
        preview_text(preview),
    )
    if not rehearse:
        require_all(preview.located)


def _rehearse(
    console: "Console",
    wanted: "Definition",
    given: Mapping[str, Path],
    root: Path,
    *,
    threads: int,
    force: bool,
) -> None:
    from release.rehearse import rehearse

    done = rehearse(
        wanted,
        given,
        root,
        threads=threads,
        progress=console,
        note=console.note,
        overwrite=force,
    )
    git = done.git_directory
    document = _document(done.built, done.published)
    document |= {"git_directory": str(git), "stand_ins": list(done.stand_ins)}
    text = [
        *_text(done.built, done.published)[:-2],
        f"card:   {done.built.folder / _CARD_NAME}",
        f"proof:  git --git-dir {git} log --oneline --decorate main",
    ]
    if done.stand_ins:
        text.append(
            f"a rehearsal: {', '.join(done.stand_ins)}: random values, not weights"
        )
    console.result("krelease.publish/1", document, text)


def _publish(
    console: "Console",
    wanted: "Definition",
    given: Mapping[str, Path],
    base: Path,
    target: Path,
    *,
    threads: int,
    force: bool,
) -> None:
    from release.acquire import acquire, locate_with_hub
    from release.hub.client import connect
    from release.ingredients import require_all
    from release.publish import ensure_folder, push, require_access

    located = locate_with_hub(wanted, given, base=base)
    require_all(located)
    with connect() as connection:
        require_access(connection)
    located = acquire(located, note=console.note)
    built = ensure_folder(
        wanted, located, target, threads=threads, progress=console, overwrite=force
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
    console.result(
        "krelease.publish/1", _document(built, published), _text(built, published)
    )


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
    if published.already_published:
        state = "nothing to do: already published as"
    else:
        state = "published"
    return [
        *build_text(built.manifest, built.folder),
        f"{state} {published.repo_id} tag {published.tag}, commit {published.commit}",
        f"files:  {published.url}",
        f"card:   {built.folder / _CARD_NAME}",
    ]
