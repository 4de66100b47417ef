"""What `krelease new` reads and asks before it writes."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from release.download import HUB_SCHEME
from release.errors import CardError, UsageError, visible

if TYPE_CHECKING:
    from release.catalog.outline import Known, Outline
    from release.console import Console
    from release.lint.card import Card

_QUESTIONS: Final = {
    "title": "Title",
    "summary": "What it is, in one sentence",
    "author": "Author",
    "repo": "Repository on the Hub (OWNER/NAME)",
    "licence": "Licence",
    "prompt": "An example prompt",
}


def read_outline(source: str, console: "Console") -> "Outline":
    """Return the outline of a checkpoint on this machine or a Hub.

    Raises:
        UsageError: A reference of another form.
        CheckpointError: It cannot be read, or is no SDXL model.
        HubError: The Hub does not have it, refuses, or cannot be reached.
    """
    if source.startswith(HUB_SCHEME):
        from release.hub.client import connect
        from release.hub.outlines import remote_outline

        console.note(f"look at {visible(source)}")
        with connect() as connection:
            return remote_outline(connection, source)
    from release.catalog.outline import Place, outline_of
    from release.formats.open import open_checkpoint

    path = Path(source)
    with open_checkpoint(path, stub_globals=True) as checkpoint:
        place = Place(path=_as_named(path))
        return outline_of(place, checkpoint.tensors, checkpoint.metadata)


def _as_named(path: Path) -> str:
    """Return a path as the definition in this folder names it."""
    absolute = path.absolute()
    here = Path.cwd()
    inside = absolute.is_relative_to(here)
    return (absolute.relative_to(here) if inside else absolute).as_posix()


def read_card(source: str, console: "Console") -> "Card":
    """Return a card: a file of this machine, or the README.md of a repository.

    Raises:
        UsageError: It is neither.
        CardError: Code "no-card": the repository has none. Code "card": it cannot be
            read as a card.
        HubError: The Hub does not have it, refuses, or cannot be reached.
    """
    from release.formats.input import InputFile
    from release.lint.card import CARD_NBYTES_MAX, parse_card
    from release.lint.repo import REPO

    path = Path(source)
    if path.exists() or REPO.fullmatch(source) is None or "@" in source:
        with InputFile(path) as file:
            raw = file.read(0, min(file.nbytes, CARD_NBYTES_MAX + 1))
    else:
        raw = _fetched_card(source, console)
    card = parse_card(raw)
    if card.faults:
        fault = card.faults[0]
        raise CardError(
            f"{visible(source, 1024)}: line {fault.line}: {visible(fault.text)}",
            hint="krelease lint says what is wrong with a card",
        )
    return card


def _fetched_card(repo_id: str, console: "Console") -> bytes:
    from release.hub.client import connect
    from release.hub.outlines import remote_text
    from release.lint.card import CARD_NBYTES_MAX
    from release.manifest import CARD_NAME

    console.note(f"look at the card of {visible(repo_id)}")
    with connect() as connection:
        raw = remote_text(connection, repo_id, CARD_NAME, nbytes_max=CARD_NBYTES_MAX)
    if raw is None:
        raise CardError(
            f"{repo_id}: has no {CARD_NAME}",
            code="no-card",
            hint="leave --card out, or name a file",
        )
    return raw


def is_terminal() -> bool:
    """Return whether somebody is there to be asked."""
    return bool(sys.stdin and sys.stderr and sys.stdin.isatty() and sys.stderr.isatty())


def ask(known: "Known", given: "Known", console: "Console") -> "Known":
    """Ask on the terminal for what the maker did not give; Enter takes what is known.

    What cannot be right is asked again. The end of the input leaves the rest open.

    Args:
        known: What is known already, from anywhere.
        given: What of it the maker gave as options, and is not asked for.
        console: Says what is wrong with an answer.
    """
    for key, question in _QUESTIONS.items():
        if getattr(given, key):
            continue
        default = getattr(known, key)
        while True:
            text = _answer(question, default)
            if text is None:
                return given
            answer: dict[str, Any] = {key: text or default}
            try:
                given = checked(replace(given, **answer))
            except UsageError as error:
                console.warn(f"{error}; {error.hint}")
            else:
                break
    return given


def _answer(question: str, default: str) -> str | None:
    """Return what is typed; None at the end of the input."""
    shown = visible(default) if default else "leave open"
    typer.echo(f"{question} [{shown}]: ", nl=False, err=True)
    line = sys.stdin.readline()
    return line.strip() if line else None


def checked(given: "Known") -> "Known":
    """Return what the maker says, in the form that a definition takes.

    Raises:
        UsageError: Code "repo-id": the repository is not OWNER/NAME. Code
            "licence-option": the licence is not known.
    """
    import re

    from release.catalog.outline import plain_line
    from release.definition import HUB_ID
    from release.lint.known import named_licence

    if given.repo and re.fullmatch(HUB_ID, given.repo) is None:
        raise UsageError(
            f"--repo {visible(given.repo)}: expected OWNER/NAME",
            code="repo-id",
            hint="for example --repo KBlueLeaf/Kohaku-XL-gamma",
        )
    return replace(
        given,
        title=plain_line(given.title),
        summary=plain_line(given.summary),
        author=plain_line(given.author),
        prompt=plain_line(given.prompt),
        licence=named_licence(given.licence) if given.licence else "",
    )
