"""Routes that change a repository's files: preupload and commit."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from release.hub.rehearsal.large_rules import ignored_paths, is_large
from release.hub.rehearsal.protocol import (
    Json,
    base64_at,
    count_at,
    objects_at,
    parse_commit,
    text_at,
)
from release.hub.rehearsal.repository import Repository
from release.hub.rehearsal.visit import Visit

_MOST_FILES = 256


async def preupload(request: Request) -> Response:
    """Say of each file how it must travel, and what the path holds now."""
    visit = Visit(request)
    body = await visit.json()
    files = objects_at(body, "files", limit=_MOST_FILES)
    with _opened_for_commit(visit) as repository:
        sha = repository.resolve(visit.segment("rev"))
        rules = text_at(body, "gitIgnore", "").encode() or _ignore_rules(
            repository, sha
        )
        ignored = ignored_paths(rules, [text_at(file, "path") for file in files])
        answer = [
            _instruction(repository, sha, file, ignored=ignored) for file in files
        ]
    return JSONResponse({"files": answer})


def _opened_for_commit(visit: Visit) -> Repository:
    """A pull request may be opened by everybody who has a token and may read."""
    if not visit.flag("create_pr"):
        return visit.writable()
    visit.signed_in()
    return visit.readable()


def _ignore_rules(repository: Repository, sha: str) -> bytes:
    entry = repository.entry(sha, ".gitignore")
    return repository.read_blob(entry.oid) if entry and not entry.is_folder else b""


def _instruction(
    repository: Repository, sha: str, file: Json, *, ignored: set[str]
) -> Json:
    path = text_at(file, "path")
    large = is_large(path, count_at(file, "size"), sample=base64_at(file, "sample"))
    fields: dict[str, object] = {
        "path": path,
        "uploadMode": "lfs" if large else "regular",
        "shouldIgnore": path in ignored,
    }
    entry = repository.entry(sha, path)
    if entry is not None and not entry.is_folder:
        fields["oid"] = entry.content_id
    return fields


async def commit(request: Request) -> Response:
    """Apply a commit in one visible step."""
    visit = Visit(request)
    change = parse_commit(await request.body())
    revision = visit.segment("rev")
    by = visit.signature()
    page = f"{visit.hub.endpoint}/{visit.repo_id}"
    with _opened_for_commit(visit) as repository:
        answer: dict[str, object] = {"success": True}
        if visit.flag("create_pr"):
            oid, number = repository.commit_to_pull_request(revision, change, by=by)
            answer["pullRequestUrl"] = f"{page}/discussions/{number}"
        else:
            oid = repository.commit(revision, change, by=by)
    answer |= {"commitOid": oid, "commitUrl": f"{page}/commit/{oid}"}
    return JSONResponse(answer)


_MODEL = "/api/models/{namespace}/{name}"

ROUTES = (
    Route(_MODEL + "/preupload/{rev}", preupload, methods=["POST"]),
    Route(_MODEL + "/commit/{rev}", commit, methods=["POST"]),
)
