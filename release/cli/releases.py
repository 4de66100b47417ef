"""`krelease releases`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from release.cli.app import session
from release.cli.options import JsonOption, QuietOption

if TYPE_CHECKING:
    from release.definition import Definition


def releases(
    name: Annotated[
        str | None, typer.Argument(metavar="RELEASE", help="Show this one whole.")
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the catalog, or show one release whole.

    A file NAME.toml in this folder counts as the release NAME.

    Example: krelease releases gamma-rev2
    """
    with session(as_json=json, quiet=quiet) as console:
        from release.catalog.find import catalog_names, find_definition
        from release.console import columns
        from release.errors import visible

        if name is not None:
            definition, text = find_definition(name, Path())
            stated = definition.model_dump(mode="json", by_alias=True)
            lines = [visible(line, len(line)) for line in text.splitlines()]
            console.result(
                "krelease.release/1",
                {"definition": stated},
                lines,
                brief=[definition.release.name],
            )
            return
        found = [find_definition(each, Path())[0] for each in catalog_names()]
        console.result(
            "krelease.releases/1",
            {"releases": [_summary(definition) for definition in found]},
            columns([_row(definition) for definition in found]),
            brief=[definition.release.name for definition in found],
        )


def _summary(definition: "Definition") -> dict[str, object]:
    release = definition.release
    return {
        "name": release.name,
        "title": release.title,
        "summary": release.summary,
        "repo": release.repo,
        "tag": release.tag,
        "variants": list(release.variants),
        "ingredients": sorted(definition.ingredients),
    }


def _row(definition: "Definition") -> list[str]:
    release = definition.release
    return [
        release.name,
        release.title,
        ", ".join(release.variants),
        f"of {', '.join(sorted(definition.ingredients))}",
    ]
