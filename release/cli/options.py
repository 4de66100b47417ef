"""Options that several commands share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from release.errors import UsageError, visible
from release.threads import MAX_THREADS

_EXAMPLE: Final = "for example --ingredient beta7=models/beta7.safetensors"

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object to stdout.")
]
QuietOption = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", help="Only names on stdout; no notes and no progress."
    ),
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
        metavar="N",
        min=1,
        max=MAX_THREADS,
        show_default=False,
        help="Worker threads. If not given: KRELEASE_THREADS, or the cores that this"
        " process may use.",
    ),
]
UnverifiedOption = Annotated[
    bool,
    typer.Option(
        "--unverified",
        help="Go on when tensors differ from the digests that krelease has written"
        " into the header of the source.",
    ),
]
IngredientOption = Annotated[
    list[str] | None,
    typer.Option(
        "--ingredient",
        "-i",
        metavar="NAME=PATH",
        help="The file of an ingredient. Repeat it for each.",
    ),
]
DefinitionOption = Annotated[
    Path | None,
    typer.Option(
        "--definition",
        metavar="FILE",
        help="A definition file (TOML), instead of RELEASE.",
    ),
]
TemplatesOption = Annotated[
    Path | None,
    typer.Option(
        "--templates",
        metavar="DIR",
        help="A folder of your own templates, each in place of ours of the same name.",
    ),
]
PicturesOption = Annotated[
    bool,
    typer.Option(
        "--pictures",
        help="Draw the error of every block, error-by-block.svg, and show it in the"
        " card. Needs krelease[plots].",
    ),
]
ReleaseArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="RELEASE",
        help="A release of the catalog, or NAME of a NAME.toml in this folder.",
    ),
]


def parse_ingredients(pairs: Sequence[str] | None) -> dict[str, Path]:
    """Return ingredient name -> path from `NAME=PATH` texts.

    Raises:
        UsageError: Another form, or a name given twice.
    """
    return {name: _path(text) for name, text in parse_named(pairs).items()}


def parse_named(pairs: Sequence[str] | None) -> dict[str, str]:
    """Return ingredient name -> path or reference from `NAME=PATH` texts.

    Raises:
        UsageError: Another form, or a name given twice.
    """
    given: dict[str, str] = {}
    for pair in pairs or ():
        name, equals, path = pair.partition("=")
        if not equals or not name or not path:
            raise UsageError(
                f"--ingredient {visible(pair)}: expected NAME=PATH",
                code="ingredient-option",
                hint=_EXAMPLE,
            )
        if name in given:
            raise UsageError(
                f"--ingredient {visible(name)}: given twice, expected once",
                code="ingredient-option",
                hint="leave one of the two out",
            )
        given[name] = path
    return given


def _path(text: str) -> Path:
    """Return a path; `~` is expanded here, because a shell leaves `NAME=~/x` alone."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # no such user: then it is the name of a file
        return Path(text)
