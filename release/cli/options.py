"""Options that several commands share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from release.errors import UsageError, visible

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object to stdout.")
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="No notes and no progress on stderr.")
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Replace what is already at the target.")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print the plan and write nothing.")
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        show_default="the cores this process may use",
        help="Worker threads; the environment variable KRELEASE_THREADS also works.",
    ),
]
IngredientOption = Annotated[
    list[str] | None,
    typer.Option(
        "--ingredient",
        "-i",
        metavar="NAME=PATH",
        help="File of an ingredient. Repeat for each.",
    ),
]
DefinitionOption = Annotated[
    Path | None,
    typer.Option(
        "--definition",
        metavar="FILE",
        help="A definition file, instead of a name from the catalog.",
    ),
]
ReleaseArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="RELEASE",
        help="A release of the catalog, or NAME of a NAME.toml in this folder.",
    ),
]

_FORM: Final = "expected NAME=PATH"


def parse_ingredients(pairs: Sequence[str] | None) -> dict[str, Path]:
    """Return ingredient name -> path from `NAME=PATH` texts.

    Raises:
        UsageError: Another form, or a name given twice.
    """
    given: dict[str, Path] = {}
    for pair in pairs or ():
        name, equals, path = pair.partition("=")
        if not equals or not name or not path:
            raise UsageError(
                f"--ingredient {visible(pair)}: {_FORM}",
                code="ingredient-option",
                hint="for example --ingredient beta7=models/beta7.safetensors",
            )
        if name in given:
            raise UsageError(
                f"--ingredient {visible(name)}: given twice", code="ingredient-option"
            )
        given[name] = Path(path).expanduser()
    return given
