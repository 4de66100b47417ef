"""A file that krelease wrote, ways to damage it, and servers that misbehave."""

import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.random import default_rng
from safetensors.numpy import save_file

from release.convert.options import ConvertOptions
from release.convert.plan import plan_convert
from release.convert.run import convert
from release.convert.source import SourceOptions, open_source
from release.progress import NoProgress
from release.variants.preset import find_preset

MIB = 2**20
NAME = "model-fp16.safetensors"
RECORD = "model-fp16.krelease.json"

SIZES = (3 * MIB, MIB // 2, 5 * MIB, 2 * MIB, 9 * MIB, MIB, 3 * MIB, 4096)
"""Bytes of the tensors in F32."""

Damage = Callable[[bytearray], bytearray]


def write_converted(folder: Path, *, seed: int) -> Path:
    """Write a checkpoint of 12 MiB and its record; every seed has the same sizes."""
    noise = default_rng(seed)
    tensors = {
        f"model.diffusion_model.input_blocks.{at}.weight": noise.random(
            (256, nbytes // 1024), np.float32
        )
        for at, nbytes in enumerate(SIZES)
    }
    save_file(tensors, folder / "model.safetensors", {"title": "something small"})
    options = ConvertOptions((find_preset("fp16"),), identifies=True)
    with open_source(folder / "model.safetensors", SourceOptions()) as opened:
        plan = plan_convert(opened, options)
        convert(plan, folder, threads=2, progress=NoProgress())
    (folder / "model.safetensors").unlink()
    assert {path.name for path in folder.iterdir()} == {NAME, RECORD}
    return folder


@pytest.fixture(scope="session")
def whole_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A converted checkpoint of 12 MiB and its record. Never write to them."""
    return write_converted(tmp_path_factory.mktemp("whole"), seed=7)


@pytest.fixture(scope="session")
def known_stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another checkpoint of the same size and names, with its record beside it."""
    return write_converted(tmp_path_factory.mktemp("known"), seed=8) / NAME


@pytest.fixture(scope="session")
def stranger(
    tmp_path_factory: pytest.TempPathFactory, known_stranger: Path, whole: Path
) -> Path:
    """The same other checkpoint with nothing beside it."""
    assert known_stranger.stat().st_size == whole.stat().st_size
    return Path(shutil.copy(known_stranger, tmp_path_factory.mktemp("stranger") / NAME))


@pytest.fixture(scope="session")
def whole(whole_folder: Path) -> Path:
    return whole_folder / NAME


@pytest.fixture(scope="session")
def lone(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same file with nothing beside it."""
    return Path(shutil.copy(whole, tmp_path_factory.mktemp("lone") / NAME))


@pytest.fixture(scope="session")
def facts(whole_folder: Path) -> dict[str, Any]:
    """What the record says about the file."""
    return json.loads((whole_folder / RECORD).read_text())["files"][0]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in; failed requests are repeated at once."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr("release.hub.client.WAITS_SECONDS", (0.0,))
    return folder


@pytest.fixture
def damage(here: Path, whole_folder: Path) -> Callable[..., Path]:
    """Put a damaged copy here, with or without its record."""

    def make(change: Damage = bytearray, *, record: bool = True) -> Path:
        path = here / NAME
        path.write_bytes(change(bytearray((whole_folder / NAME).read_bytes())))
        if record:
            shutil.copy(whole_folder / RECORD, here / RECORD)
        return path

    return make


@pytest.fixture(scope="session")
def sha256sum() -> Callable[[Path], str]:
    """SHA-256 by coreutils."""

    def run(path: Path) -> str:
        done = subprocess.run(
            ["sha256sum", path], check=True, capture_output=True, text=True
        )
        return done.stdout.split()[0]

    return run


@pytest.fixture(scope="session")
def whole_sum(whole: Path, sha256sum: Callable[[Path], str]) -> str:
    return sha256sum(whole)


@pytest.fixture
def repaired(
    krelease: Callable[..., tuple[int, str, str]],
    here: Path,
    whole_sum: str,
    sha256sum: Callable[[Path], str],
) -> Callable[..., dict[str, Any]]:
    """Repair the file here, which must succeed and leave nothing else; the report."""

    def run(*arguments: object) -> dict[str, Any]:
        others = {path.name for path in here.iterdir()} - {f".{NAME}.repair"}
        code, out, err = krelease("repair", NAME, "--json", *arguments)
        assert code == 0, err
        report = json.loads(out)
        kept = set() if report["kept"] is None else {report["kept"]}
        assert {path.name for path in here.iterdir()} == others | kept
        assert sha256sum(here / NAME) == whole_sum
        return report

    return run


@pytest.fixture
def refused(
    krelease: Callable[..., tuple[int, str, str]], here: Path
) -> Callable[..., tuple[int, str, str]]:
    """Repair the file here, which must fail: exit code, code, message; no change."""

    def run(*arguments: object, leaves: bool = False) -> tuple[int, str, str]:
        path = here / NAME
        before = path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino
        others = {each.name for each in here.iterdir()}
        code, out, err = krelease("repair", NAME, "--json", *arguments)
        document = json.loads(out)
        assert document["schema"] == "krelease.error/1", out
        assert document["hint"]
        assert "Traceback" not in err
        assert (
            path.read_bytes(),
            path.stat().st_mtime_ns,
            path.stat().st_ino,
        ) == before
        left = {f".{NAME}.repair"} if leaves else set()
        assert {each.name for each in here.iterdir()} == others | left
        return code, document["code"], document["message"]

    return run


@dataclass
class Request:
    """One request as the server saw it."""

    path: str
    range: str | None
    headers: dict[str, str]


@dataclass
class Server:
    """A server of one file that answers ranges, unless `fault` answers first.

    `fault` is given the handler and the number of the request, from 0; it returns
    whether it has answered.
    """

    content: bytes
    address: str = ""
    requests: list[Request] = field(default_factory=list)
    etag: str = '"one"'
    fault: Callable[[BaseHTTPRequestHandler, int], bool] = lambda _handler, _n: False

    @property
    def ranges(self) -> list[str | None]:
        return [request.range for request in self.requests]

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        number = len(self.requests)
        asked = handler.headers.get("Range")
        self.requests.append(Request(handler.path, asked, dict(handler.headers)))
        if self.fault(handler, number):
            return
        begin, end = 0, len(self.content)
        if asked:
            first, last = asked.removeprefix("bytes=").split("-")
            begin, end = int(first), int(last) + 1
        self.send(handler, begin, end)

    def send(
        self,
        handler: BaseHTTPRequestHandler,
        begin: int,
        end: int,
        *,
        status: int = 206,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Send a range in the right form but for what is given."""
        sent = self.content[begin:end] if body is None else body
        known = {
            "ETag": self.etag,
            "Content-Length": str(end - begin),
            "Content-Range": f"bytes {begin}-{end - 1}/{len(self.content)}",
        } | (headers or {})
        handler.send_response(status)
        for name, value in known.items():
            if value:
                handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(sent)


@pytest.fixture
def server(whole: Path) -> Iterator[Server]:
    serving = Server(whole.read_bytes())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                serving.answer(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, *_: object) -> None: ...

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    serving.address = f"http://127.0.0.1:{listening.server_port}/{NAME}"
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
    thread.start()
    yield serving
    listening.shutdown()
    thread.join()
    listening.server_close()
