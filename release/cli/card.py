"""`krelease card`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from release.cli.app import session
from release.cli.definitions import load
from release.cli.options import (
    DefinitionOption,
    ForceOption,
    JsonOption,
    QuietOption,
    ReleaseArgument,
    TemplatesOption,
)

if TYPE_CHECKING:
    from release.card.sites import Site
    from release.console import Console
    from release.definition import Definition
    from release.manifest import Manifest
    from release.pictures.file import PictureFile


def card(
    release: ReleaseArgument = None,
    definition: DefinitionOption = None,
    site: Annotated[
        str,
        typer.Option(
            "--for", metavar="SITE", help="hf, civitai, seaart or github: whose page."
        ),
    ] = "hf",
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="DIR",
            help="The release folder that was built. If not given: ./RELEASE.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Write the files there. If not given, the page is printed.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE",
            help="Instead of a page, draw the error of every block of every variant: a"
            " .png or .svg file. Needs krelease[plots].",
        ),
    ] = None,
    templates: TemplatesOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a release's page for the Hub or another site.

    Sizes, digests and error figures come from the manifest in the release folder, all
    else from the definition. --for civitai also gives civitai.json, every field of its
    form. A release that was built with --pictures gets its picture again.

    Example: krelease card gamma-rev2 --for civitai --out civitai
    """
    with session(as_json=json, quiet=quiet) as console:
        from release.card.output import built_manifest, write_pages
        from release.card.presentation import presentation_of
        from release.card.sites import render_pages

        chosen = _site(site)
        picture = _picture(plot, out, force=force)
        wanted, base = load(release, definition)
        manifest = built_manifest(wanted, source or Path(wanted.release.name))
        if picture is not None:
            _draw(console, picture, wanted, manifest)
            return
        shown = presentation_of(
            wanted,
            base,
            templates=templates,
            has_pictures=_is_built_with_pictures(manifest, chosen),
        )
        pages = render_pages(wanted, manifest, chosen, presentation=shown)
        if out is not None:
            write_pages(pages, out, overwrite=force)
        _show(console, chosen, pages, out)


def _picture(
    plot: Path | None, out: Path | None, *, force: bool
) -> "PictureFile | None":
    from release.errors import UsageError
    from release.pictures.file import PictureFile

    if plot is None:
        return None
    if out is not None:
        raise UsageError(
            "--plot and --out: expected one of them",
            code="plot-and-out",
            hint="--plot draws only the picture; run the command again for the page",
        )
    return PictureFile(plot, overwrite=force)


def _draw(
    console: "Console",
    picture: "PictureFile",
    definition: "Definition",
    manifest: "Manifest",
) -> None:
    from release.card.block_errors import block_errors
    from release.card.context import check_same_release

    check_same_release(definition, manifest)
    picture.write(block_errors(definition, manifest))
    path = str(picture.path)
    console.result("krelease.card/1", {"plot": path}, [path], brief=[path])


def _is_built_with_pictures(manifest: "Manifest", site: "Site") -> bool:
    from release.card.block_errors import BLOCK_ERRORS_NAME
    from release.card.sites import Site

    names = {file.name for file in manifest.files}
    return site is Site.HUB and BLOCK_ERRORS_NAME in names


def _site(text: str) -> "Site":
    from release.card.sites import Site
    from release.errors import UsageError, visible
    from release.recipe.names import suggestion

    known = [site.value for site in Site]
    if text not in known:
        raise UsageError(
            f"--for {visible(text)}: expected one of {', '.join(known)}",
            code="unknown-site",
            hint=suggestion(text, known),
        )
    return Site(text)


def _show(
    console: "Console", site: "Site", pages: dict[str, str], out: Path | None
) -> None:
    document: dict[str, object] = {"site": site.value, "files": pages}
    if out is not None:
        paths = [str(out / name) for name in pages]
        document |= {"folder": str(out)}
        console.result("krelease.card/1", document, paths, brief=paths)
        return
    first, *others = pages
    if others:
        names = ", ".join(others)
        console.note(f"this is {first}; --out DIR writes it, and {names}")
    lines = pages[first].removesuffix("\n").split("\n")
    console.result("krelease.card/1", document, lines, brief=list(pages))
