"""`krelease releases`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from release.cli.app import session
from release.cli.options import JsonOption

if TYPE_CHECKING:
    from release.definition import Definition


def releases(
    name: Annotated[
        str | None, typer.Argument(metavar="[RELEASE]", help="Show this one whole.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the catalog, or show one release whole.

    Example: krelease releases gamma-rev2
    """
    with session(as_json=json) as console:
        from release.catalog.find import catalog_names, find_definition

        if name is not None:
            definition, text = find_definition(name, Path())
            document = definition.model_dump(mode="json", by_alias=True)
            console.result("krelease.release/1", document, text.splitlines())
            return
        found = [find_definition(each, Path())[0] for each in catalog_names()]
        console.result(
            "krelease.releases/1",
            {"releases": [_summary(definition) for definition in found]},
            [_line(definition) for definition in found],
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


def _line(definition: "Definition") -> str:
    release = definition.release
    return (
        f"{release.name:<14}{release.title}: {', '.join(release.variants)}; "
        f"made of {', '.join(sorted(definition.ingredients))}"
    )
