"""What goes where: results to stdout, all else to stderr, and what a terminal sees."""

import fcntl
import io
import json
import os
import pty
import struct
import subprocess
import termios
from pathlib import Path

import pytest

from release.console import Console, columns
from release.errors import ReleaseError, UsageError

WIDTH = 80


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def streams():
    return {"out": io.StringIO(), "err": io.StringIO()}


@pytest.fixture
def on_a_terminal(program, environment, tmp_path):
    """Run the program with stderr on a terminal: exit code, stdout, screen."""

    def run(*args: object, **variables: str) -> tuple[int, str, str]:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, WIDTH, 0, 0))
        process = subprocess.Popen(
            [program, *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=theirs,
            text=True,
            cwd=tmp_path,
            env=environment | {"TERM": "xterm"} | variables,
        )
        os.close(theirs)
        screen = b""
        with process:
            while chunk := _read(ours):
                screen += chunk
            assert process.stdout is not None
            out = process.stdout.read()
        os.close(ours)
        return process.returncode, out, screen.decode()

    return run


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux reports that the other side has closed
        return b""


def test_columns_stand_below_each_other_without_trailing_blanks():
    rows = [["a", "1", "x"], ["bbb", "22", ""]]

    assert columns(rows, right=[1]) == ["a     1  x", "bbb  22"]
    assert columns([]) == []


def test_json_result_is_one_line_and_nothing_else(streams):
    console = Console(as_json=True, **streams)

    console.note("working")
    console.result("krelease.test/1", {"n": 1}, ["for people"], brief=["name"])

    assert streams["out"].getvalue() == '{"schema": "krelease.test/1", "n": 1}\n'
    assert streams["err"].getvalue() == "working\n"


def test_quiet_result_is_names_only(streams):
    console = Console(quiet=True, **streams)

    console.note("working")
    with console.stage("work", 10) as advance:
        advance(10)
    console.warn("still said")
    console.result("krelease.test/1", {}, ["for people"], brief=["name"])

    assert streams["out"].getvalue() == "name\n"
    assert streams["err"].getvalue() == "warning: still said\n"


def test_stage_without_a_terminal_is_one_line_at_its_end(streams):
    console = Console(**streams)

    with console.stage("merge\x1b[31m", 3_000_000) as advance:
        advance(1_000_000)
        assert streams["err"].getvalue() == ""
        advance(2_000_000)

    assert streams["err"].getvalue().startswith("merge\\u001b[31m: 3.00 MB")
    assert streams["out"].getvalue() == ""


def test_failed_stage_claims_nothing(streams):
    console = Console(**streams)

    with pytest.raises(UsageError), console.stage("merge", 10):
        raise UsageError("no")

    assert streams["err"].getvalue() == ""


def test_error_after_a_result_leaves_the_json_alone(streams):
    console = Console(as_json=True, **streams)

    console.result("krelease.verify/1", {"intact": False}, [])
    console.fail(ReleaseError("damaged"))

    assert len(streams["out"].getvalue().splitlines()) == 1
    assert streams["err"].getvalue() == "error: damaged\n"


@pytest.mark.parametrize(
    ("variables", "prefix"),
    [
        ({}, "\x1b[31merror: "),
        ({"NO_COLOR": "1"}, "error: "),
        ({"NO_COLOR": ""}, "\x1b[31merror: "),
        ({"TERM": "dumb"}, "error: "),
    ],
)
def test_errors_are_red_on_a_terminal_that_wants_colour(monkeypatch, variables, prefix):
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    screen = Terminal()

    Console(err=screen).fail(UsageError("no"))

    assert screen.getvalue().startswith(prefix)


def test_what_the_encoding_lacks_becomes_an_escape():
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")

    Console(out=out).result("krelease.test/1", {}, ["caf\u00e9 \udcff"])

    assert raw.getvalue() == b"caf\\xe9 \\udcff\n"


def test_stopped_stage_raises_in_whoever_reports_next(streams):
    console = Console(**streams)

    with console.stage("merge", 10) as advance:
        console.stop(KeyError("stop"))
        is_expected = console.will_stop()
        with pytest.raises(KeyError):
            advance(1)

    assert is_expected


def test_stopped_says_what_is_left_on_purpose(streams):
    console = Console(**streams)

    console.keeps("half of it is kept")
    console.stopped("SIGINT", exit_code=130)

    assert streams["err"].getvalue() == "stopped by SIGINT; half of it is kept\n"


def test_bar_shows_bytes_rate_and_time_left_on_stderr_only(
    on_a_terminal, ingredients, tmp_path
):
    path = ingredients["beta7"]

    code, out, screen = on_a_terminal("convert", path, "--to", "fp8", "--out", tmp_path)

    assert code == 0
    assert "\x1b" not in out
    assert "MB/s" in screen
    assert "/11.8 MB" in screen
    assert "ETA" in screen
    assert "convert: 11.8 MB in " in screen.splitlines()[-1]


def test_bar_is_not_shown_with_quiet(on_a_terminal, release_folder):
    assert on_a_terminal("verify", release_folder, "--quiet") == (0, "", "")


def test_no_color_reaches_the_bar(on_a_terminal, release_folder):
    code, _, screen = on_a_terminal("verify", release_folder, NO_COLOR="1")

    assert code == 0
    assert "verify" in screen
    assert "\x1b[3" not in screen


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["releases"], ["releases", "--json"], ["verify", "no", "--json"]],
)
def test_closed_pipe_ends_without_a_traceback(program, environment, arguments):
    reader, writer = os.pipe()
    os.close(reader)

    result = subprocess.run(
        [program, *arguments],
        check=False,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    os.close(writer)

    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "Exception" not in result.stderr


def test_full_stdout_is_an_error_of_its_own(program, environment):
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [program, "releases"],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    assert result.returncode == 9
    assert result.stderr.startswith("error: stdout: cannot be written: No space left")


@pytest.mark.parametrize("closed", ["1", "2"])
def test_stream_that_was_never_open_is_no_error(program, environment, closed):
    script = f'exec "$0" releases {closed}>&-'

    result = subprocess.run(
        ["sh", "-c", script, program],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )

    assert (result.returncode, result.stderr) == (0, "")


def test_every_json_answer_is_one_object_with_its_schema(
    krelease, given, release_folder, ingredients, tmp_path
):
    path, out = ingredients["beta7"], tmp_path / "new"
    answers = {
        "krelease.releases/1": ["releases"],
        "krelease.release/1": ["releases", "gamma-rev2"],
        "krelease.verify/1": ["verify", release_folder],
        "krelease.convert-plan/1": ["convert", path, "--to=fp16", "--dry-run"],
        "krelease.convert/1": ["convert", path, "--to=fp16", f"--out={out}"],
        "krelease.build-plan/1": ["build", "gamma-rev2", *given, "--dry-run"],
    }

    runs = {schema: krelease(*args, "--json") for schema, args in answers.items()}

    for schema, (code, out, _) in runs.items():
        assert code == 0
        assert json.loads(out)["schema"] == schema
        assert out.count("\n") == 1
