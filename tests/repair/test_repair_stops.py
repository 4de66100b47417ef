"""Stopped at any request: the file is as it was, and the next repair goes on."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

MIB = 2**20
NAME = "model-fp16.safetensors"
LEFT = f".{NAME}.repair"
FLIPS = (MIB, 3 * MIB, 5 * MIB, 7 * MIB, 9 * MIB)


def flip(*positions):
    def change(content):
        for position in positions:
            content[position] ^= 1
        return content

    return change


@pytest.fixture
def stop_at(server, here: Path) -> Callable[..., tuple[int, str]]:
    """Repair in a process of its own, which a signal meets at a request.

    It is sent before the answer, or in the middle of it. Returns exit code and stderr.
    """

    def run(number: int, at: int, *, within: bool = False) -> tuple[int, str]:
        started = threading.Event()
        running: list[subprocess.Popen[str]] = []
        before = len(server.requests)

        def fault(handler, request: int) -> bool:
            if request - before != at:
                return False
            started.wait(30)
            if within:
                first, last = handler.headers["Range"].removeprefix("bytes=").split("-")
                begin, end = int(first), int(last) + 1
                half = server.content[begin : begin + (end - begin) // 2]
                server.send(handler, begin, end, body=half)
                handler.wfile.flush()
            running[0].send_signal(number)
            running[0].wait(30)
            return True

        server.fault = fault
        environment = os.environ | {"HF_HUB_DISABLE_XET": "1", "COLUMNS": "80"}
        command = [sys.executable, "-m", "release", "repair", NAME]
        process = subprocess.Popen(
            [*command, "--from", server.address],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=here,
            env=environment,
        )
        running.append(process)
        started.set()
        err = process.communicate(timeout=60)[1]
        server.fault = lambda *_: False
        return process.returncode, err

    return run


@pytest.mark.parametrize("at", range(6))
def test_repair_that_was_killed_at_a_request_goes_on(
    damage, repaired, server, stop_at, here, at
):
    path = damage(flip(*FLIPS))
    content = path.read_bytes()

    code, _ = stop_at(signal.SIGKILL, at)

    assert code == -signal.SIGKILL
    assert path.read_bytes() == content
    assert (here / LEFT).exists() == (at > 0)
    report = repaired("--from", server.address)
    assert report["fetched_nbytes"] == (5 - max(0, at - 1)) * MIB


def test_repair_that_is_killed_again_and_again_comes_to_an_end(
    damage, repaired, server, stop_at
):
    damage(flip(*FLIPS))

    for _ in range(3):
        assert stop_at(signal.SIGKILL, 2, within=True)[0] == -signal.SIGKILL
    report = repaired("--from", server.address)

    assert report["fetched_nbytes"] == 2 * MIB


def test_tensors_that_had_arrived_whole_are_not_fetched_again(
    damage, repaired, server, stop_at, facts
):
    flips = (MIB, 4 * MIB + MIB // 2, 10 * MIB)
    damage(flip(*flips), record=False)
    hit = [
        each["nbytes"]
        for each in facts["tensors"]
        if any(0 <= at - each["offset"] < each["nbytes"] for at in flips)
    ]
    assert len(hit) == 3

    # A look at the file, the header, the first of three tensors; not the second.
    assert stop_at(signal.SIGKILL, 3)[0] == -signal.SIGKILL
    report = repaired("--from", server.address)

    assert report["fetched_nbytes"] == sum(hit[1:]) + facts["header_nbytes"]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_what_a_stopped_repair_leaves_is_said(
    damage, repaired, server, stop_at, here, number, code
):
    path = damage(flip(*FLIPS))
    content = path.read_bytes()

    exit_code, err = stop_at(number, 3, within=True)

    assert exit_code == code, err
    assert path.read_bytes() == content
    assert err.splitlines()[-1] == (
        f"stopped by {number.name}; {LEFT} is kept: the same command goes on from it"
    )
    assert (here / LEFT).exists()
    assert repaired("--from", server.address)["fetched_nbytes"] == 3 * MIB


def test_stopped_before_anything_was_fetched_leaves_nothing(
    damage, server, stop_at, here
):
    damage(flip(*FLIPS))

    code, err = stop_at(signal.SIGINT, 1)

    assert code == 130
    assert err.splitlines()[-1] == "stopped by SIGINT; no unfinished file is left"
    assert not (here / LEFT).exists()


def test_intact_file_makes_an_old_copy_go(damage, repaired, server, stop_at, here):
    path = damage(flip(*FLIPS))
    stop_at(signal.SIGKILL, 3)
    path.write_bytes(server.content)

    report = repaired("--from", server.address)

    assert report["outcome"] == "intact"
    assert not (here / LEFT).exists()
