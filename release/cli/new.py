"""`krelease new`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from release.cli.app import session
from release.cli.options import DryRunOption, ForceOption, JsonOption, QuietOption
from release.errors import OutputExistsError, UsageError, visible

if TYPE_CHECKING:
    from release.catalog.draft import Draft

_SCHEMA_NAME: Final = "krelease.schema.json"
_FROM_HELP: Final = (
    "A checkpoint that the release is made of, or whose recipe it follows: a file, or "
    "hf://OWNER/REPO[@REVISION]/FILE."
)
_CARD_HELP: Final = "A card to take facts from: README.md, or OWNER/REPO of a Hub."


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the release.")],
    source: Annotated[
        str, typer.Option("--from", metavar="CHECKPOINT", help=_FROM_HELP)
    ] = "",
    card: Annotated[str, typer.Option("--card", metavar="CARD", help=_CARD_HELP)] = "",
    title: Annotated[str, typer.Option("--title", help="Its name for people.")] = "",
    summary: Annotated[
        str, typer.Option("--summary", help="What it is, in one sentence.")
    ] = "",
    author: Annotated[str, typer.Option("--author", help="Who releases it.")] = "",
    repo: Annotated[
        str, typer.Option("--repo", metavar="OWNER/NAME", help="Where on the Hub.")
    ] = "",
    licence: Annotated[
        str, typer.Option("--licence", metavar="NAME", help="Licence of the release.")
    ] = "",
    prompt: Annotated[str, typer.Option("--prompt", help="An example prompt.")] = "",
    dry_run: DryRunOption = False,
    force: ForceOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write NAME.toml, a release definition to fill in.

    What a checkpoint's header and a card say is filled in; what is still not known is
    asked on a terminal, and is otherwise left as a comment and named. Beside it goes
    krelease.schema.json, with which editors complete the file.

    Example: krelease new my-merge --from merged.safetensors --card README.md
    """
    with session(as_json=json, quiet=quiet) as console:
        from release.catalog.draft import draft
        from release.catalog.outline import Known
        from release.cli.drafting import (
            ask,
            checked,
            is_terminal,
            read_card,
            read_outline,
        )
        from release.formats.output import write_text_file
        from release.lint.known import (
            brought_together,
            known_of_card,
            known_of_header,
        )

        path = _path_of(name, overwrite=force or dry_run)
        given = checked(
            Known(
                title=title,
                summary=summary,
                author=author,
                repo=repo,
                licence=licence,
                prompt=prompt,
            )
        )
        outline = read_outline(source, console) if source else None
        said = [known_of_card(read_card(card, console))] if card else []
        said += [known_of_header(outline)] if outline else []
        known, notes = brought_together([given, *said])
        if is_terminal() and not (json or quiet):
            known, _ = brought_together([ask(known, given, console), *said])
        made = draft(name, known, outline=outline, schema_path=f"./{_SCHEMA_NAME}")
        if not dry_run:
            _write_schema(Path(_SCHEMA_NAME), overwrite=force)
            write_text_file(path, made.text, overwrite=force)
        console.result(
            "krelease.new/1",
            _document(path, made, (*notes, *made.notes), dry_run=dry_run),
            made.text.splitlines() if dry_run else _text(path, made),
            brief=made.text.splitlines() if dry_run else [str(path)],
        )
        for note in (*notes, *made.notes):
            console.warn(note)
        if dry_run:
            console.note(f"nothing written; {_verdict(made)}")


def _path_of(name: str, *, overwrite: bool) -> Path:
    """Return where the definition goes, before anything is read or asked.

    Raises:
        UsageError: `name` is none of a release.
        OutputExistsError: It is there already.
    """
    from release.definition import PATTERN_MEANINGS, RELEASE_NAME

    if re.fullmatch(RELEASE_NAME, name) is None:
        raise UsageError(
            f"{visible(name, 80)}: expected {PATTERN_MEANINGS[RELEASE_NAME]}",
            code="release-name",
            hint="for example krelease new my-merge",
        )
    path = Path(f"{name}.toml")
    if path.exists() and not overwrite:
        raise OutputExistsError(path, hint="pass --force to replace it")
    return path


def _write_schema(path: Path, *, overwrite: bool) -> None:
    """Write the schema, unless it is there; an older one of ours is replaced.

    Raises:
        OutputError: A foreign file has its name, or it cannot be written.
    """
    from release.catalog.schema import SCHEMA_ID, make_schema
    from release.formats.output import write_text_file

    text = make_schema()
    is_ours = False
    if path.is_file():
        with path.open("rb") as file:
            there = file.read(len(text.encode()) + 1)
        if there == text.encode():
            return
        is_ours = f'"$id": "{SCHEMA_ID}"'.encode() in there
    write_text_file(path, text, overwrite=overwrite or is_ours)


def _verdict(made: "Draft") -> str:
    if made.missing:
        return f"to fill in: {', '.join(made.missing)}"
    return "valid as it is"


def _text(path: Path, made: "Draft") -> list[str]:
    lines = [f"{path}: {_verdict(made)}"]
    if made.usual:
        lines.append(f"only usual for SDXL, put yours: {', '.join(made.usual)}")
    return lines


def _document(
    path: Path, made: "Draft", notes: tuple[str, ...], *, dry_run: bool
) -> dict[str, object]:
    return {
        "path": str(path),
        "json_schema": _SCHEMA_NAME,
        "written": not dry_run,
        "toml": made.text,
        "valid": not made.missing,
        "missing": list(made.missing),
        "usual": list(made.usual),
        "notes": list(notes),
    }
