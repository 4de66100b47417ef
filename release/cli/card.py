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
    templates: TemplatesOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a release's page for the Hub or another site.

    Sizes, digests and error figures come from the manifest in the release folder, all
    else from the definition. --for civitai also gives civitai.json, every field of its
    form.

    Example: krelease card gamma-rev2 --for civitai --out civitai
    """
    with session(as_json=json, quiet=quiet) as console:
        from release.card.output import built_manifest, write_pages
        from release.card.presentation import presentation_of
        from release.card.sites import render_pages

        chosen = _site(site)
        wanted, base = load(release, definition)
        shown = presentation_of(wanted, base, templates=templates)
        manifest = built_manifest(wanted, source or Path(wanted.release.name))
        pages = render_pages(wanted, manifest, chosen, presentation=shown)
        if out is not None:
            write_pages(pages, out, overwrite=force)
        _show(console, chosen, pages, out)


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
