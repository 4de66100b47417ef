"""`krelease recipe import` and `show`: what files of other programs say."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from release.cli.app import session
from release.cli.options import ForceOption, JsonOption, QuietOption
from release.cli.recipe import app

if TYPE_CHECKING:
    from release.recipe.lineage import Lineage

__all__ = ["app"]

_NAME: Final = "import"


@app.command(_NAME)
def import_file(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A checkpoint with a recipe in its header, a .mecha text, or a"
            " mergekit configuration.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="Where it goes; to stdout if not given."
        ),
    ] = None,
    force: ForceOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write another program's recipe as a recipe file.

    A1111, SuperMerger, Chattiori, sd-mecha and mergekit are known. What our language
    cannot say exactly is refused by name and place; nothing is imported half.

    Example: krelease recipe import merged.safetensors --out recipe.toml
    """
    with session(as_json=json, quiet=quiet) as console:
        from release.formats.output import write_text_file
        from release.recipe.imports.read import import_recipe
        from release.recipe.imports.to_toml import to_toml

        imported = import_recipe(path)
        text = to_toml(imported)
        for warning in imported.warnings:
            console.warn(warning)
        for note in imported.notes:
            console.note(note)
        if out is not None:
            write_text_file(out, text, overwrite=force)
        console.result(
            "krelease.recipe-import/1",
            {
                "origin": imported.origin,
                "toml": text,
                "path": None if out is None else str(out),
                "notes": list(imported.notes),
                "warnings": list(imported.warnings),
            },
            text.splitlines() if out is None else [f"{out}: from {imported.origin}"],
            brief=text.splitlines() if out is None else [str(out)],
        )


@app.command()
def show(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="A safetensors checkpoint.")
    ],
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show the recipe and the lineage that a checkpoint carries.

    It is what the file says; whether it is true is another question.

    Example: krelease recipe show merged.safetensors
    """
    with session(as_json=json, quiet=quiet) as console:
        from release.formats.open import open_safetensors
        from release.recipe.lineage import lineage_of, tree_lines

        with open_safetensors(path) as checkpoint:
            lineage = lineage_of(checkpoint.metadata, title=path.name)
        lines = tree_lines(lineage)
        console.result("krelease.recipe-show/1", _document(lineage), lines, brief=lines)


def _document(lineage: "Lineage") -> dict[str, object]:
    """Return the tree as nested objects; its depth is bounded where it is read."""
    return {
        "title": lineage.title,
        "digest": lineage.digest,
        "remark": lineage.remark,
        "parents": [_document(parent) for parent in lineage.parents],
    }
