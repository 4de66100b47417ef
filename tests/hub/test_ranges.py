"""Ranges over HTTP below the command: who is told the token, where a redirect leads."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest

from release.errors import HubError
from release.hub.addresses import _require_followable
from release.hub.client import connect
from release.hub.ranges import HttpRanges

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """Redirects from 127.0.0.1 to the same port of localhost, and answers there."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.server.seen.append(dict(self.headers))
            if self.headers["Host"].startswith("127."):
                self.send_response(302)
                port = self.server.server_port
                self.send_header("Location", f"http://localhost:{port}/signed?key=abc")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            first, last = self.headers["Range"].removeprefix("bytes=").split("-")
            part = CONTENT[int(first) : int(last) + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(CONTENT)}")
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            self.wfile.write(part)

        def log_message(self, *_: object) -> None: ...

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.seen = []
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
    thread.start()
    yield listening
    listening.shutdown()
    thread.join()
    listening.server_close()


def test_token_stays_with_the_first_origin(server):
    origin = f"http://127.0.0.1:{server.server_port}"
    with connect(origin, pause=lambda _: None) as connection:
        ranges = HttpRanges(
            connection,
            f"{origin}/file",
            "the file",
            len(CONTENT),
            headers={"Authorization": "Bearer secret"},
        )

        found = b"".join(bytes(block) for block in ranges.read_range(300, 5000))

    assert found == CONTENT[300:5000]
    assert [seen.get("Authorization") for seen in server.seen] == [
        "Bearer secret",
        None,
    ]


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("https://hub.example/a", "https://cdn.example/b"),
        ("https://hub.example/a", "https://hub.example/b"),
        ("http://127.0.0.1:8000/a", "http://localhost:9000/b"),
        ("http://127.0.0.1:8000/a", "https://cdn.example/b"),
        ("http://hub.lan/a", "http://hub.lan/b"),
    ],
)
def test_redirect_is_followed(here, there):
    _require_followable(httpx2.URL(here), httpx2.URL(there), label="the file")


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("https://hub.example/a", "http://cdn.example/b"),
        ("https://hub.example/a", "http://hub.example/b"),
        ("https://hub.example/a", "http://127.0.0.1/b"),
        ("https://hub.example/a", "https://localhost/b"),
        ("https://hub.example/a", "https://[::1]/b"),
        ("http://127.0.0.1:8000/a", "http://cdn.example/b"),
        ("https://hub.example/a", "ftp://hub.example/b"),
        ("https://hub.example/a", "file:///etc/passwd"),
    ],
)
def test_redirect_is_not_followed_and_its_query_is_not_shown(here, there):
    with pytest.raises(HubError) as refused:
        _require_followable(
            httpx2.URL(here), httpx2.URL(f"{there}?sig=secret"), label="the file"
        )

    assert refused.value.code == "source-redirect"
    assert "secret" not in str(refused.value)
