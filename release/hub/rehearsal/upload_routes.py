"""Routes of large-file storage: batch, uploads in one piece or in parts, verify.

Source:
    git-lfs, docs/api/batch.md and docs/api/basic-transfers.md; the `multipart` transfer
    is the Hub's own.
"""

import secrets
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from release.hub.rehearsal.large_files import LargeFiles
from release.hub.rehearsal.protocol import (
    Json,
    Pointer,
    RefusedError,
    bad_request,
    count_at,
    objects_at,
    pointer_of,
    text_at,
)
from release.hub.rehearsal.state import Upload
from release.hub.rehearsal.visit import Visit
from release.numeric.digest import Sha256

_MOST_OBJECTS: Final = 256
_LARGEST_BYTES: Final = 500_000_000_000
_COPY_BYTES: Final = 1 << 20
_LFS_JSON: Final = "application/vnd.git-lfs+json"


async def batch(request: Request) -> Response:
    """Answer for each object: stored already, or where to send it.

    Reading rights suffice, as a pull request may bring large files.
    """
    visit = Visit(request)
    body = await visit.json()
    if body.get("operation") != "upload":
        raise bad_request("Only uploads are answered here")
    wanted = objects_at(body, "objects", limit=_MOST_OBJECTS)
    visit.signed_in()
    with visit.readable() as repository:
        stored = repository.large_files
        pointers = [pointer_of(item, size=count_at(item, "size")) for item in wanted]
        answers = [_batch_answer(visit, stored, pointer) for pointer in pointers]
    part_bytes = visit.hub.limits.part_bytes
    in_parts = any(pointer.size > part_bytes for pointer in pointers)
    transfer = "multipart" if in_parts else "basic"
    return JSONResponse(
        {"transfer": transfer, "objects": answers}, media_type=_LFS_JSON
    )


def _batch_answer(visit: Visit, stored: LargeFiles, pointer: Pointer) -> Json:
    answer: dict[str, object] = {"oid": pointer.sha256, "size": pointer.size}
    size = stored.size(pointer.sha256)
    if pointer.size > _LARGEST_BYTES:
        answer["error"] = {"code": 413, "message": "Larger than any file may be"}
    elif size is None:
        answer["actions"] = _actions(visit, pointer)
    elif size != pointer.size:
        message = f"Stored with {size} bytes, announced with {pointer.size}"
        answer["error"] = {"code": 422, "message": message}
    return answer


def _actions(visit: Visit, pointer: Pointer) -> Json:
    part_bytes = visit.hub.limits.part_bytes
    n_parts = -(-pointer.size // part_bytes) if pointer.size > part_bytes else 0
    ticket = secrets.token_hex(16)
    visit.hub.uploads[ticket] = Upload(visit.repo_id, pointer, n_parts)
    objects = f"{visit.hub.endpoint}/{visit.repo_id}.git/info/lfs/objects"
    href = f"{objects}/{pointer.sha256}/{ticket}"
    upload: dict[str, object] = {"href": href}
    if n_parts:
        parts = {str(number): f"{href}/{number}" for number in range(1, n_parts + 1)}
        upload["header"] = {"chunk_size": str(part_bytes), **parts}
    return {"upload": upload, "verify": {"href": f"{objects}/verify"}}


def _upload_of(visit: Visit) -> Upload:
    upload = visit.hub.uploads.get(visit.segment("ticket"))
    if upload is None or upload.repo_id != visit.repo_id:
        raise RefusedError(403, "This upload URL has expired")
    return upload


def _storage_of(visit: Visit, upload: Upload) -> LargeFiles:
    with visit.repositories.open(upload.repo_id) as repository:
        return repository.large_files


async def put_whole(request: Request) -> Response:
    """Receive a large file in one piece; it is stored only if its SHA-256 is right."""
    visit = Visit(request)
    upload = _upload_of(visit)
    with _storage_of(visit, upload).receive(upload.pointer) as incoming:
        async for chunk in request.stream():
            incoming.write(chunk)
        incoming.finish()
    return Response(headers={"ETag": f'"{upload.pointer.sha256}"'})


async def put_part(request: Request) -> Response:
    """Receive one part of a large file and answer with its tag."""
    visit = Visit(request)
    upload = _upload_of(visit)
    number = int(request.path_params["number"])
    if not 1 <= number <= upload.n_parts:
        raise bad_request(f"There is no part {number}")
    path = _storage_of(visit, upload).part_path(visit.segment("ticket"), number)
    upload.part_tags.pop(number, None)
    digest = Sha256()
    with path.open("wb") as file:
        async for chunk in request.stream():
            digest.update(chunk)
            file.write(chunk)
    tag = upload.part_tags[number] = f'"{digest.hexdigest()}"'
    return Response(headers={"ETag": tag})


async def complete(request: Request) -> Response:
    """Join the parts; stored only if all are there and the SHA-256 is right.

    Asked again after the answer was lost, it answers the same.
    """
    visit = Visit(request)
    upload = _upload_of(visit)
    parts = objects_at(await visit.json(), "parts", limit=upload.n_parts)
    tags = {count_at(part, "partNumber"): text_at(part, "etag") for part in parts}
    if tags != upload.part_tags or len(tags) != upload.n_parts:
        raise bad_request(
            f"{len(tags)} parts named, {len(upload.part_tags)} received, "
            f"{upload.n_parts} expected, or an ETag is not what was answered"
        )
    stored = _storage_of(visit, upload)
    if stored.size(upload.pointer.sha256) is None:
        ticket = visit.segment("ticket")
        numbers = range(1, upload.n_parts + 1)
        _join(stored, upload, paths=[stored.part_path(ticket, n) for n in numbers])
    return JSONResponse({})


def _join(stored: LargeFiles, upload: Upload, *, paths: list[Path]) -> None:
    with stored.receive(upload.pointer) as incoming:
        for path in paths:
            with path.open("rb") as part:
                while chunk := part.read(_COPY_BYTES):
                    incoming.write(chunk)
        incoming.finish()
    for path in paths:
        path.unlink()


async def verify(request: Request) -> Response:
    """Confirm that an object is stored with the size its sender believes."""
    visit = Visit(request)
    body = await visit.json()
    pointer = pointer_of(body, size=count_at(body, "size"))
    visit.signed_in()
    with visit.readable() as repository:
        if repository.large_files.size(pointer.sha256) != pointer.size:
            raise RefusedError(404, f"{pointer.sha256} is not stored")
    return JSONResponse({})


_OBJECTS = "/{namespace}/{name}.git/info/lfs/objects"

ROUTES = (
    Route(_OBJECTS + "/batch", batch, methods=["POST"]),
    Route(_OBJECTS + "/verify", verify, methods=["POST"]),
    Route(_OBJECTS + "/{sha256}/{ticket}", put_whole, methods=["PUT"]),
    Route(_OBJECTS + "/{sha256}/{ticket}", complete, methods=["POST"]),
    Route(_OBJECTS + "/{sha256}/{ticket}/{number:int}", put_part, methods=["PUT"]),
)
