"""What somebody reads who types --help."""

import re
from collections.abc import Callable

import pytest

from release import __version__

PLAIN = (
    "publish",
    "build",
    "merge",
    "extract",
    "convert",
    "inspect",
    "hash",
    "verify",
    "repair",
    "parity",
    "audit",
    "new",
    "card",
    "lint",
    "licence",
    "blocks",
    "releases",
    "presets",
)
GROUPS = {"recipe": ("explain", "check", "import", "show")}
COMMANDS = (*PLAIN, *(f"{group} {each}" for group in GROUPS for each in GROUPS[group]))


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")


def test_overview_names_every_command_in_one_uncut_line(krelease):
    code, out, err = krelease("--help")

    assert (code, err) == (0, "")
    assert re.findall(r"(?m)^  ([a-z]+)  +[A-Z]", out) == [*PLAIN, *GROUPS]
    assert "..." not in out.replace("[ARGS]...", "")
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_of_its_command(krelease, command):
    code, out, err = krelease(*command.split(), "--help")

    assert (code, err) == (0, "")
    assert f"Example: krelease {command} " in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("group", GROUPS)
def test_help_of_a_group_names_its_commands_and_has_an_example(krelease, group):
    code, out, err = krelease(group, "--help")

    assert (code, err) == (0, "")
    assert re.findall(r"(?m)^  ([a-z]+)  +[A-Z]", out) == list(GROUPS[group])
    assert f"Example: krelease {group} " in out
    assert max(map(len, out.splitlines())) <= 80
    assert "..." not in out.partition("Commands:")[2]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_offers_json_and_quiet(krelease, command):
    _, out, _ = krelease(*command.split(), "-h")

    assert "--json" in out
    assert "-q, --quiet" in out


@pytest.mark.parametrize(
    "command",
    [
        "publish",
        "build",
        "convert",
        "extract",
        "verify",
        "hash",
        "parity",
        "audit",
        "lint",
    ],
)
def test_everything_that_computes_takes_threads(krelease, command):
    _, out, _ = krelease(*command.split(), "-h")

    assert "--threads N" in out
    assert "KRELEASE_THREADS" in out


@pytest.mark.parametrize("command", ["publish", "build", "convert", "extract"])
def test_everything_that_writes_takes_dry_run_and_force(krelease, command):
    _, out, _ = krelease(*command.split(), "-h")

    assert "--dry-run" in out
    assert "--force" in out


@pytest.mark.parametrize("command", COMMANDS)
def test_no_option_has_an_underscore(krelease, command):
    _, out, _ = krelease(*command.split(), "-h")

    assert re.findall(r"--\w*_\w*", out) == []


def test_version_is_one_line(krelease):
    assert krelease("--version") == (0, f"krelease {__version__}\n", "")


def test_bare_program_shows_its_help_and_is_a_usage_error(
    spawn: Callable[..., object],
):
    result = spawn()

    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage: krelease ")
    assert "Commands:" in result.stderr
