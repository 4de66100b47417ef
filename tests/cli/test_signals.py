"""Ctrl-C, termination and kill at any moment: one line, and nothing half-written.

Most runs are forked from a process that has loaded everything, so that the moments lie
in the work itself and not in the loading of torch; a few start from nothing.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

SERVER = """
import json, os, sys
import release.acquire, release.folder, release.preview, release.publish
import release.rehearse, release.hub.rehearsal.serving
from release.cli import app

for line in sys.stdin:
    arguments, errors = json.loads(line)
    child = os.fork()
    if child == 0:
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.argv = ["krelease", *arguments]
        app()
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

POLL_SECONDS = 0.002
LIMIT_SECONDS = 30.0

Moment = Callable[[str], bool]


@dataclass
class Ended:
    """How a run ended: exit code, what it said, and how long it took."""

    exit_code: int
    err: str
    seconds: float


class Server:
    """Runs command lines in forks, and signals them at chosen moments."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
        )

    def run(
        self,
        arguments: Sequence[str],
        *,
        number: int = signal.SIGINT,
        when: Moment = lambda _: False,
        times: int = 1,
    ) -> Ended:
        """Run to the end, with a signal each of the first times that `when` says so.

        Args:
            arguments: The command line.
            number: The signal.
            when: Told what stderr holds so far.
            times: How often the signal is sent at most.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        errors = self.folder / "stderr"
        errors.unlink(missing_ok=True)
        begin = time.monotonic()
        self._process.stdin.write(json.dumps([arguments, str(errors)]) + "\n")
        self._process.stdin.flush()
        child = int(self._process.stdout.readline())
        os.set_blocking(self._process.stdout.fileno(), False)
        n_sent = 0
        answer = ""  # what there is to read may be less than a line
        while not (answer := answer + self._process.stdout.readline()).endswith("\n"):
            said = errors.read_text() if errors.exists() else ""
            if n_sent < times and when(said):
                os.kill(child, number)
                n_sent += 1
            if time.monotonic() - begin > LIMIT_SECONDS:
                os.kill(child, signal.SIGKILL)
                pytest.fail(f"still running after {LIMIT_SECONDS} s: {said}")
            time.sleep(POLL_SECONDS)
        os.set_blocking(self._process.stdout.fileno(), True)
        seconds = time.monotonic() - begin
        return Ended(int(answer), errors.read_text(), seconds)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def after(seconds: float) -> Moment:
    begin = time.monotonic()
    return lambda _: time.monotonic() - begin >= seconds


def once_said(text: str) -> Moment:
    return lambda said: text in said


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*") if path.name != ".gitattributes"]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("signals"))
    yield running
    running.close()


@pytest.fixture
def build(server: Server, ingredients: dict[str, Path], tmp_path: Path) -> list[str]:
    given = [f"--ingredient={name}={path}" for name, path in ingredients.items()]
    return ["build", "gamma-rev2", *given, "--out", str(tmp_path / "here" / "built")]


@pytest.fixture
def rehearse(build: list[str], tmp_path: Path) -> list[str]:
    return ["publish", *build[1:-1], str(tmp_path / "here"), "--rehearse"]


def assert_stopped(ended: Ended, number: int) -> None:
    name = signal.Signals(number).name
    assert ended.exit_code == 128 + number, ended.err
    assert ended.err.splitlines()[-1] == (
        f"stopped by {name}; no unfinished file is left"
    )
    assert "Traceback" not in ended.err
    assert "Exception" not in ended.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_build_stopped_at_any_moment_leaves_nothing(
    server, build, tmp_path, release_folder, number
):
    target = tmp_path / "here" / "built"
    server.run(build)  # slower than the others: much is read for the first time
    shutil.rmtree(target)
    whole = server.run(build)
    expected = contents(target)
    n_stopped = 0
    for step in range(1, 6):
        shutil.rmtree(target, ignore_errors=True)
        ended = server.run(build, number=number, when=after(whole.seconds * step / 7))
        if ended.exit_code:
            n_stopped += 1
            assert_stopped(ended, number)
        assert leftovers(tmp_path) == []
        assert not target.exists() or contents(target) == expected

    shutil.rmtree(target, ignore_errors=True)
    again = server.run(build)
    assert (whole.exit_code, again.exit_code) == (0, 0)
    assert n_stopped >= 2
    assert contents(target) == expected == contents(release_folder)


STEPS = (
    "merge: ",
    "check the right to write",
    "upload to the branch",
    "fetch every file back",
    "put the release on main",
    "create the tag",
)


def test_rehearsal_stopped_after_any_step_goes_on_from_there(
    server, rehearse, tmp_path, release_folder
):
    folder = tmp_path / "here"
    for number, step in zip([signal.SIGINT, signal.SIGTERM] * 5, STEPS, strict=False):
        ended = server.run(rehearse, number=number, when=once_said(step))
        if ended.exit_code:
            assert_stopped(ended, number)
        assert leftovers(folder / "release") == []
        assert not list(folder.glob(".*"))

    last = server.run(rehearse)
    hub = folder / "hub" / "repositories" / "KBlueLeaf" / "Kohaku-XL-gamma.git"
    log = subprocess.run(
        ["git", "--git-dir", hub, "log", "--format=%s %D", "main"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert last.exit_code == 0
    assert log.stdout.splitlines() == ["Release gamma-rev2 HEAD -> main, tag: rev2"]
    checkpoint = "kohaku-xl-gamma-rev2-fp16.safetensors"
    built = (folder / "release" / checkpoint).read_bytes()
    assert built == (release_folder / checkpoint).read_bytes()


def test_more_signals_do_not_disturb_the_clean_up(server, build, tmp_path):
    here = tmp_path / "here"

    ended = server.run(
        build, when=lambda _: any(here.glob(".built.*.part/*")), times=1000
    )

    assert_stopped(ended, signal.SIGINT)
    assert leftovers(tmp_path) == []


def test_kill_leaves_a_part_that_the_next_run_removes(
    server, build, tmp_path, release_folder
):
    here = tmp_path / "here"

    killed = server.run(
        build, number=signal.SIGKILL, when=lambda _: any(here.glob(".built.*.part/*"))
    )
    left = leftovers(here)
    after_kill = server.run(build)

    assert killed.exit_code == -signal.SIGKILL
    assert any(name.startswith(".built.") for name in left)
    assert after_kill.exit_code == 0
    assert leftovers(here) == []
    assert contents(here / "built") == contents(release_folder)


@pytest.mark.parametrize("library", ["pydantic_core", "libtorch_cpu", "numpy"])
def test_interrupt_while_a_library_loads_is_one_line(
    program, environment, build, tmp_path, library
):
    command = [program, *build]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        maps = Path(f"/proc/{process.pid}/maps")
        deadline = time.monotonic() + LIMIT_SECONDS
        while library not in maps.read_text() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=LIMIT_SECONDS)

    *before, last = err.splitlines()
    assert process.returncode == 130
    assert last == "stopped by SIGINT; no unfinished file is left"
    assert all(line.startswith("warning: ingredient ") for line in before)
    assert leftovers(tmp_path) == []


def test_stopped_command_says_so_in_json_too(
    program, environment, build, tmp_path, ingredients
):
    here = tmp_path / "here"
    with subprocess.Popen(
        [program, *build, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        while not any(here.glob(".built.*.part/*")) and process.poll() is None:
            time.sleep(POLL_SECONDS)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=LIMIT_SECONDS)

    document = json.loads(out)
    assert process.returncode == document["exit_code"] == 143
    assert (document["schema"], document["code"]) == ("krelease.error/1", "stopped")
