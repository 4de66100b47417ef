"""`krelease releases`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from release.cli.app import session
from release.cli.options import JsonOption, QuietOption
from release.errors import UsageError

if TYPE_CHECKING:
    from release.catalog.read import Read
    from release.catalog.trained import TrainedModel
    from release.console import Console
    from release.definition import Definition


def releases(
    name: Annotated[
        str | None, typer.Argument(metavar="RELEASE", help="Show this one whole.")
    ] = None,
    schema: Annotated[
        bool,
        typer.Option(
            "--schema", help="Print the JSON Schema of definitions, for editors."
        ),
    ] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the catalog, or show one release or trained model whole.

    A file NAME.toml in this folder counts as the release NAME. Trained models are
    ingredients that no recipe leads to: they are known, and cannot be built.

    Example: krelease releases gamma-rev2
    """
    with session(as_json=json, quiet=quiet) as console:
        if schema:
            _print_schema(console, name)
        elif name is not None:
            from release.catalog.find import find_any

            _print_one(console, find_any(name, Path()))
        else:
            _print_all(console)


def _print_schema(console: "Console", name: str | None) -> None:
    import json

    from release.catalog.schema import make_schema

    if name is not None:
        raise UsageError(
            "--schema and a release: expected one of the two",
            code="which-release",
            hint="the schema is the same for every definition",
        )
    text = make_schema()
    lines = text.splitlines()
    document = {"json_schema": json.loads(text)}
    console.result("krelease.definition-schema/1", document, lines, brief=lines)


def _print_one(console: "Console", read: "Read") -> None:
    from release.catalog.trained import TrainedModel
    from release.errors import visible

    value = read.value
    identity = value.model if isinstance(value, TrainedModel) else value.release
    stated = value.model_dump(mode="json", by_alias=True)
    console.result(
        "krelease.release/1",
        {"definition": stated, "extends": list(read.stated.extended)},
        [visible(line, len(line)) for line in _whole(read).splitlines()],
        brief=[identity.name],
    )


def _whole(read: "Read") -> str:
    """Return the file as it is written, or with all that it extends."""
    from release.formats.toml_write import toml_comment, toml_document

    if not read.stated.extended:
        return read.text
    files = " and ".join(read.stated.extended)
    head = toml_comment(f"{read.stated.origin}, with what it takes from {files}")
    return f"{head}\n{toml_document(read.stated.document)}"


def _print_all(console: "Console") -> None:
    from release.catalog.find import catalog_definition, catalog_model
    from release.catalog.texts import catalog_names, model_names
    from release.console import columns

    found = [catalog_definition(each)[0] for each in catalog_names()]
    models = [catalog_model(each) for each in model_names()]
    console.result(
        "krelease.releases/1",
        {
            "releases": [_summary(definition) for definition in found],
            "models": [_model_summary(model) for model in models],
        },
        columns([*map(_row, found), *map(_model_row, models)]),
        brief=[*catalog_names(), *model_names()],
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


def _model_summary(trained: "TrainedModel") -> dict[str, object]:
    model, place = trained.model, trained.place
    return {
        "name": model.name,
        "title": model.title,
        "summary": model.summary,
        "kind": trained.kind,
        "resumed_from": model.resumed_from,
        "hub": place and place.hub,
        "file": place and place.file,
    }


def _row(definition: "Definition") -> list[str]:
    release = definition.release
    return [
        release.name,
        release.title,
        ", ".join(release.variants),
        f"of {', '.join(sorted(definition.ingredients))}",
    ]


def _model_row(trained: "TrainedModel") -> list[str]:
    model = trained.model
    base = model.resumed_from
    return [
        model.name,
        model.title,
        trained.kind,
        f"from {base}" if base else "",
    ]
