"""What no client can provoke: races and orders inside the server."""

import asyncio
from pathlib import Path

import pytest

from release.hub.rehearsal import Exchange, Fault
from release.hub.rehearsal.large_files import LargeFiles
from release.hub.rehearsal.passage import Connection, Passage
from release.hub.rehearsal.protocol import (
    AddFile,
    CommitRequest,
    Pointer,
    RefusedError,
    iso_date,
)
from release.hub.rehearsal.references import move_reference
from release.hub.rehearsal.repositories import Repositories, Settings
from release.hub.rehearsal.repository import Repository, Signature

BY = Signature("maker", 1_700_000_000)


@pytest.fixture
def repository(tmp_path: Path):
    repositories = Repositories(tmp_path)
    repositories.create("maker/model", Settings(), by=BY)
    with repositories.open("maker/model") as opened:
        yield opened


def commit(repository: Repository, content: bytes) -> str:
    request = CommitRequest("s", "", "", (AddFile("a.txt", content),))
    return repository.commit("main", request, by=BY)


def test_a_ref_that_moved_meanwhile_is_not_moved_again(repository):
    stale = repository.resolve("main")
    first = commit(repository, b"1")

    with pytest.raises(RefusedError) as error:
        move_reference(repository.git, "refs/heads/main", old=stale, new=stale)

    assert error.value.status == 412
    assert repository.resolve("main") == first


def test_a_ref_that_another_process_is_changing_is_not_moved(repository):
    head = repository.resolve("main")
    (repository.directory / "refs/heads/main.lock").touch()

    with pytest.raises(RefusedError) as error:
        commit(repository, b"1")

    assert error.value.status == 412
    assert repository.resolve("main") == head


def test_more_bytes_than_announced_are_refused_at_once_and_leave_nothing(tmp_path):
    stored = LargeFiles(tmp_path / "lfs")

    with stored.receive(Pointer("0" * 64, 10)) as incoming:
        incoming.write(b"x" * 10)
        with pytest.raises(RefusedError, match="More than the announced 10 bytes"):
            incoming.write(b"x")

    assert not [path for path in (tmp_path / "lfs").rglob("*") if path.is_file()]


def test_a_request_is_logged_before_the_last_byte_of_its_answer_leaves():
    logged: list[Exchange] = []
    at_send: list[tuple[bytes, int]] = []

    async def send(message):
        at_send.append((message.get("body", b"start"), len(logged)))

    async def receive():
        return {"type": "http.request"}

    passage = Passage(
        Exchange("r", "GET", "/", "", "", has_token=False),
        Fault(),
        connection=Connection(receive, send, lambda: None),
        log=logged.append,
    )

    async def answer():
        headers = [(b"content-length", b"4")]
        await passage.send(
            {"type": "http.response.start", "status": 200, "headers": headers}
        )
        for body, more in ((b"ab", True), (b"cd", True), (b"", False)):
            await passage.send(
                {"type": "http.response.body", "body": body, "more_body": more}
            )

    asyncio.run(answer())

    assert at_send == [(b"start", 0), (b"ab", 0), (b"cd", 1), (b"", 1)]
    assert [(seen.status, seen.response_bytes) for seen in logged] == [(200, 4)]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000.25, "2023-11-14T22:13:20.250Z"),
        (1.0019, "1970-01-01T00:00:01.001Z"),
    ],
)
def test_dates_have_milliseconds_and_end_in_z(seconds, text):
    assert iso_date(seconds) == text
