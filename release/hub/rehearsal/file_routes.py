"""The route that serves files: `/{id}/resolve/{rev}/{path}`, HEAD and GET.

Bytes are always served with status 200 or 206 from the same origin. A redirect within
the origin would lose `X-Repo-Commit` in the client.
"""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from release.hub.rehearsal.protocol import RefusedError, entry_not_found, parse_range
from release.hub.rehearsal.trees import Entry
from release.hub.rehearsal.visit import Visit

_BLOCK_BYTES: Final = 1 << 20


async def resolve(request: Request) -> Response:
    """Serve a file of a revision, or a byte range of it."""
    visit = Visit(request)
    path = visit.segment("path")
    with visit.downloadable() as repository:
        sha = repository.resolve(visit.segment("rev"))
        headers = {"X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
        entry = repository.entry(sha, path)
        if entry is None or entry.is_folder:
            refusal = entry_not_found("Entry not found")
            refusal.headers |= headers
            raise refusal
        headers |= _identity(entry)
        if entry.pointer is not None:
            file = repository.large_files.path(entry.pointer.sha256)
            return _file_answer(request, file, headers)
        return _blob_answer(request, repository.read_blob(entry.oid), headers)


def _identity(entry: Entry) -> dict[str, str]:
    tag = f'"{entry.content_id}"'
    if entry.pointer is None:
        return {"ETag": tag}
    return {"ETag": tag, "X-Linked-Etag": tag, "X-Linked-Size": str(entry.size)}


def _blob_answer(
    request: Request, content: bytes, headers: Mapping[str, str]
) -> Response:
    status, (start, end), framing = _framing(request, len(content))
    body = b"" if request.method == "HEAD" else content[start:end]
    return Response(
        body,
        status,
        {**headers, **framing},
        media_type="application/octet-stream",
    )


def _file_answer(request: Request, file: Path, headers: Mapping[str, str]) -> Response:
    status, (start, end), framing = _framing(request, file.stat().st_size)
    both = {**headers, **framing}
    if request.method == "HEAD":
        return Response(b"", status, both, media_type="application/octet-stream")
    return StreamingResponse(
        _blocks(file, start, end=end),
        status,
        both,
        media_type="application/octet-stream",
    )


def _framing(
    request: Request, size: int
) -> tuple[int, tuple[int, int], dict[str, str]]:
    """Return the status, the half-open range to send and its headers."""
    try:
        wanted = parse_range(request.headers.get("range"), size)
    except RefusedError as refusal:
        refusal.headers["Content-Range"] = f"bytes */{size}"
        raise
    start, end = wanted or (0, size)
    headers = {"Content-Length": str(end - start)}
    if wanted is None:
        return 200, (start, end), headers
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return 206, (start, end), headers


async def _blocks(path: Path, start: int, *, end: int) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        left = end - start
        while left and (block := file.read(min(_BLOCK_BYTES, left))):
            left -= len(block)
            yield block


ROUTES = (Route("/{namespace}/{name}/resolve/{rev}/{path:path}", resolve),)
