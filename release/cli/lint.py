"""`krelease lint`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from release.cli.app import session
from release.cli.options import JsonOption, QuietOption, ThreadsOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from release.console import Console
    from release.hub.client import HubConnection
    from release.lint.rule import Rule
    from release.lint.run import Finding
    from release.lint.subject import Subject


def lint(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="TARGET",
            help="A folder with a README.md, a card, or OWNER/REPO[@REVISION] of the"
            " Hub.",
        ),
    ] = None,
    select: Annotated[
        list[str] | None,
        typer.Option(
            "--select", metavar="RULE", help="Only rules that begin so, such as KR2."
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", metavar="RULE", help="No rules that begin so."),
    ] = None,
    fix: Annotated[
        bool,
        typer.Option("--fix", help="Put right in the card what can be put right."),
    ] = False,
    ask_hub: Annotated[
        bool,
        typer.Option(
            "--ask-hub",
            help="Send a card from here to the Hub for its opinion on the fields, and"
            " look up the ids they name. Always so for OWNER/REPO.",
        ),
    ] = False,
    rules: Annotated[
        bool, typer.Option("--rules", help="List the rules and end.")
    ] = False,
    threads: ThreadsOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check a model card against rules and its files.

    Sizes, dtypes, digests and parameter counts in the text are compared with the files:
    with their headers, and on the Hub with what it lists. Errors end with exit code 7,
    warnings with 0. With --quiet, only errors are printed.

    Example: krelease lint KBlueLeaf/Kohaku-XL-gamma
    """
    with session(as_json=json, quiet=quiet) as console:
        from release.lint.run import chosen_rules, errors_of
        from release.lint.run import lint as run
        from release.threads import choose_threads

        chosen = chosen_rules(select or [], ignore or [])
        n_threads = choose_threads(threads)
        if rules:
            _list(console, chosen)
            return
        subject = _read(target, console, threads=n_threads, fix=fix)
        findings = run(subject, chosen)
        left = findings
        if fix:
            from release.lint.fix import fix_card
            from release.lint.folder import card_path

            path = card_path(Path(target or ""))
            subject = fix_card(path, subject, chosen)
            left = run(subject, chosen)
        n_fixed = len(findings) - len(left)
        if ask_hub and _is_here(target or ""):
            left = run(_ask_hub(subject, console), chosen)
        console.result(
            "krelease.lint/1",
            _document(target, left, n_fixed),
            _text(target, left, n_fixed),
            brief=[str(each) for each in errors_of(left)],
        )
        _refuse(target, errors_of(left))


def _list(console: "Console", rules: "Sequence[Rule]") -> None:
    from release.console import columns

    rows = [
        [r.id, r.name, r.severity.value, "--fix" if r.fixes else "", r.summary]
        for r in rules
    ]
    console.result(
        "krelease.lint-rules/1",
        {
            "rules": [
                {
                    "id": rule.id,
                    "name": rule.name,
                    "severity": rule.severity.value,
                    "fixes": rule.fixes,
                    "summary": rule.summary,
                }
                for rule in rules
            ]
        },
        columns(rows),
        brief=[rule.id for rule in rules],
    )


def _read(
    target: str | None, console: "Console", *, threads: int, fix: bool
) -> "Subject":
    """Return what is to be linted: what is here goes before what is on the Hub.

    Raises:
        UsageError: No target is given, or a repository is to be fixed.
        ReleaseError: As reading a folder or a repository does.
    """
    from release.errors import UsageError, visible

    if not target:
        raise UsageError(
            "lint: no target is given",
            code="lint-target",
            hint="name a folder, a card, or OWNER/REPO",
        )
    path = Path(target)
    if _is_here(target):
        from release.lint.folder import read_subject

        return read_subject(path, threads=threads, progress=console)
    if fix:
        raise UsageError(
            f"--fix: {visible(target)} is on the Hub, and only files here are changed",
            code="lint-target",
            hint="download its README.md and name that",
        )
    from release.hub.client import connect
    from release.lint.repo import read_repo

    console.note(f"look at {visible(target)} on the Hub")
    with connect() as connection:
        return _with_hub(read_repo(connection, target), connection, console)


def _ask_hub(subject: "Subject", console: "Console") -> "Subject":
    """Return the subject with what the Hub says; unchanged where none can be asked."""
    from release.errors import HubError
    from release.hub.client import connect

    console.note("ask the Hub for its opinion")
    try:
        with connect() as connection:
            return _with_hub(subject, connection, console)
    except HubError as error:
        console.note(f"no opinion of the Hub: {error}")
        return subject


def _with_hub(
    subject: "Subject", connection: "HubConnection", console: "Console"
) -> "Subject":
    from release.lint.hub import with_known_ids, with_opinion

    found = with_opinion(subject, connection, note=console.note)
    return with_known_ids(found, connection, note=console.note)


def _refuse(target: str | None, errors: "Sequence[Finding]") -> None:
    """End with the exit code for untrue cards; what is wrong was shown already.

    Raises:
        CardError: There are errors.
    """
    from release.errors import CardError, visible

    if errors:
        fixable = any(each.edit is not None for each in errors)
        raise CardError(
            f"{visible(target or '', 1024)}: {_counted(len(errors), 'error')}",
            code="lint",
            hint="--fix puts some of it right" if fixable else "",
        )


def _is_here(target: str) -> bool:
    """Whether a target is a path: something is there, or no repository is named so."""
    may_be_repo = target.count("/") == 1 and not target.startswith(("/", "."))
    return Path(target).exists() or not may_be_repo


def _document(
    target: str | None, findings: "Sequence[Finding]", n_fixed: int
) -> dict[str, object]:
    from release.lint.run import errors_of

    return {
        "target": target,
        "findings": [
            {
                "file": each.file,
                "line": each.line or None,
                "rule": each.rule.id,
                "name": each.rule.name,
                "severity": each.severity.value,
                "text": each.text,
                "fixable": each.edit is not None,
            }
            for each in findings
        ],
        "n_errors": len(errors_of(findings)),
        "n_warnings": len(findings) - len(errors_of(findings)),
        "n_fixed": n_fixed,
    }


def _text(target: str | None, findings: "Sequence[Finding]", n_fixed: int) -> list[str]:
    from release.errors import visible
    from release.lint.run import errors_of

    n_errors = len(errors_of(findings))
    n_warnings = len(findings) - n_errors
    fixed = f"; {n_fixed} put right" if n_fixed else ""
    n_fixable = sum(each.edit is not None for each in findings)
    more = f"; --fix can put {n_fixable} right" if n_fixable else ""
    count = f"{_counted(n_errors, 'error')}, {_counted(n_warnings, 'warning')}"
    return [
        *(str(each) for each in findings),
        f"{visible(target or '', 1024)}: {count}{fixed}{more}",
    ]


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
