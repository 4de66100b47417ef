"""`krelease build`."""

from collections.abc import Sequence
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

if TYPE_CHECKING:
    from release.card.presentation import Presentation
    from release.console import Console
    from release.definition import Definition
    from release.ingredients import Located
    from release.licences.texts import LicenceTexts

_REFUSED: Final = "pass --force to replace it, or --out for another place"


def build(
    release: ReleaseArgument = None,
    definition: DefinitionOption = None,
    ingredient: IngredientOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Release folder. If not given: ./RELEASE."
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
    """Build a release folder: variants, card, checksums, manifest.

    An ingredient that is not given is taken from the path in the definition, or
    fetched from the Hub at a pinned commit. The folder appears whole or not at all.

    Example: krelease build gamma-rev2 -i beta7=beta7.safetensors -i base8=base8.safetensors
    """  # noqa: E501  # a command that can be copied stays on one line
    with session(as_json=json, quiet=quiet) as console:
        from release.acquire import gather_texts, locate_with_hub
        from release.card.presentation import presentation_of
        from release.threads import choose_threads

        wanted, base = load(release, definition)
        given = parse_ingredients(ingredient)
        shown = presentation_of(
            wanted, base, templates=templates, has_pictures=pictures
        )
        n_threads = choose_threads(threads)
        target = out or Path(wanted.release.name)
        located = locate_with_hub(
            wanted, given, base=base, note=console.note, is_plan=dry_run
        )
        texts = gather_texts(wanted, located, base=base)
        if dry_run:
            _preview(
                console,
                wanted,
                located,
                target,
                texts=texts,
                force=force,
                has_pictures=pictures,
            )
        else:
            _build(
                console,
                wanted,
                located,
                target,
                presentation=shown,
                texts=texts,
                threads=n_threads,
                force=force,
            )


def _preview(
    console: "Console",
    wanted: "Definition",
    located: Sequence["Located"],
    target: Path,
    *,
    texts: "LicenceTexts",
    force: bool,
    has_pictures: bool,
) -> None:
    from release.cli.previews import preview_document, preview_paths, preview_text
    from release.ingredients import require_all
    from release.preview import preview_build

    preview = preview_build(
        wanted, located, target, has_pictures=has_pictures, texts=texts
    )
    console.result(
        "krelease.build-plan/1",
        {"release": wanted.release.name, **preview_document(preview)},
        preview_text(preview, occupied="" if force else _REFUSED),
        brief=preview_paths(preview),
    )
    require_all(located)


def _build(
    console: "Console",
    wanted: "Definition",
    located: Sequence["Located"],
    target: Path,
    *,
    presentation: "Presentation",
    texts: "LicenceTexts",
    threads: int,
    force: bool,
) -> None:
    from release.acquire import acquire
    from release.ingredients import check_digests, require_all

    require_all(located)
    for warning in texts.warnings:
        console.warn(warning)
    from release.folder import build_folder  # torch: seconds, so refusals come first

    at_hand = acquire(located, note=console.note)
    check_digests(at_hand, progress=console, threads=threads)
    manifest = build_folder(
        wanted,
        at_hand,
        target,
        threads=threads,
        progress=console,
        overwrite=force,
        presentation=presentation,
        texts=texts,
    )
    console.result(
        "krelease.build/1",
        build_document(manifest, target),
        [*build_text(manifest, target), check_line(target)],
        brief=build_paths(manifest, target),
    )
