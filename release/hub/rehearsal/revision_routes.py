"""Routes about branches, tags, history and trees."""

from urllib.parse import parse_qs

from dulwich.objects import ObjectID
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from release.hub.rehearsal import references
from release.hub.rehearsal.protocol import (
    Json,
    RefusedError,
    bad_request,
    iso_date,
    text_at,
)
from release.hub.rehearsal.repository import CommitInfo, Repository
from release.hub.rehearsal.trees import Entry
from release.hub.rehearsal.visit import Visit

_MOST_PATHS = 1_000


async def list_refs(request: Request) -> Response:
    """List branches and tags, and pull requests if asked for."""
    visit = Visit(request)
    with visit.readable() as repository:
        answer: dict[str, object] = {
            "branches": _references(repository, references.BRANCHES),
            "tags": _references(repository, references.TAGS),
            "converts": [],
        }
        if visit.flag("include_prs"):
            answer["pullRequests"] = _references(repository, references.PULL_REQUESTS)
    return JSONResponse(answer)


def _references(repository: Repository, prefix: str) -> list[Json]:
    return [
        {"name": found.name, "ref": found.ref, "targetCommit": found.commit}
        for found in references.list_references(repository.git, prefix)
    ]


async def create_branch(request: Request) -> Response:
    """Create a branch at `startingPoint`, or at main."""
    visit = Visit(request)
    body = await visit.json() if await request.body() else {}
    with visit.writable() as repository:
        start = repository.resolve(text_at(body, "startingPoint", references.MAIN))
        ref = references.BRANCHES + visit.segment("branch")
        references.add_reference(repository.git, ref, ObjectID(start.encode()))
    return JSONResponse({}, status_code=201)


async def delete_branch(request: Request) -> Response:
    """Delete a branch other than main."""
    visit = Visit(request)
    branch = visit.segment("branch")
    with visit.writable() as repository:
        if branch == references.MAIN:
            raise RefusedError(403, "The main branch cannot be deleted")
        references.remove_reference(repository.git, references.BRANCHES + branch)
    return JSONResponse({})


async def create_tag(request: Request) -> Response:
    """Tag the revision in the path with the name in the body."""
    visit = Visit(request)
    body = await visit.json()
    with visit.writable() as repository:
        repository.add_tag(
            text_at(body, "tag"),
            repository.resolve(visit.segment("rev")),
            message=text_at(body, "message", ""),
            by=visit.signature(),
        )
    return JSONResponse({}, status_code=201)


async def delete_tag(request: Request) -> Response:
    """Delete the tag in the path."""
    visit = Visit(request)
    with visit.writable() as repository:
        ref = references.TAGS + visit.segment("rev")
        references.remove_reference(repository.git, ref)
    return JSONResponse({})


async def squash(request: Request) -> Response:
    """Replace a branch's history by one commit."""
    visit = Visit(request)
    message = text_at(await visit.json(), "message", "Super-squash branch")
    with visit.writable() as repository:
        branch = visit.segment("branch")
        repository.squash(branch, message, by=visit.signature())
    return JSONResponse({})


async def list_commits(request: Request) -> Response:
    """List the history of a revision, newest first, in pages."""
    visit = Visit(request)
    with visit.readable() as repository:
        history = list(repository.history(repository.resolve(visit.segment("rev"))))
        oids, headers = visit.page(history, visit.hub.limits.page_entries)
        commits = [_commit(repository.commit_info(oid)) for oid in oids]
    return JSONResponse(commits, headers=headers)


def _commit(info: CommitInfo) -> Json:
    return {
        "id": info.oid,
        "title": info.title,
        "message": info.body,
        "authors": [{"user": info.user}],
        "date": iso_date(info.seconds),
    }


async def list_tree(request: Request) -> Response:
    """List a folder, or everything below it, in pages."""
    visit = Visit(request)
    expand = visit.flag("expand")
    limits = visit.hub.limits
    folder = visit.segment("path").strip("/") if "path" in request.path_params else ""
    with visit.readable() as repository:
        sha = repository.resolve(visit.segment("rev"))
        recursive = visit.flag("recursive")
        entries = repository.entries(sha, folder=folder, recursive=recursive)
        size = limits.expanded_entries if expand else limits.page_entries
        shown, headers = visit.page(entries, size)
        answer = [_entry(repository, sha, entry=e, expand=expand) for e in shown]
    return JSONResponse(answer, headers=headers)


async def paths_info(request: Request) -> Response:
    """Describe the paths in the form body; unknown ones are left out."""
    visit = Visit(request)
    kind = request.headers.get("content-type", "").partition(";")[0]
    if kind != "application/x-www-form-urlencoded":
        raise bad_request("paths-info takes a form, not " + (kind or "nothing"))
    form = parse_qs((await request.body()).decode(errors="replace"))
    paths = form.get("paths", [])
    if len(paths) > _MOST_PATHS:
        raise RefusedError(413, f"At most {_MOST_PATHS} paths per call")
    expand = form.get("expand", ["false"])[0].lower() == "true"
    with visit.readable() as repository:
        sha = repository.resolve(visit.segment("rev"))
        found = [repository.entry(sha, path.strip("/")) for path in paths]
        answer = [
            _entry(repository, sha, entry=entry, expand=expand)
            for entry in found
            if entry is not None
        ]
    return JSONResponse(answer)


def _entry(repository: Repository, sha: str, *, entry: Entry, expand: bool) -> Json:
    fields: dict[str, object] = {
        "type": "directory" if entry.is_folder else "file",
        "oid": entry.oid,
        "size": entry.size,
        "path": entry.path,
    }
    if entry.pointer:
        fields["lfs"] = {
            "oid": entry.pointer.sha256,
            "size": entry.size,
            "pointerSize": len(entry.pointer.text()),
        }
    if expand:
        last = repository.last_change(sha, entry)
        date = iso_date(last.seconds)
        fields["lastCommit"] = {"id": last.oid, "title": last.title, "date": date}
    return fields


_MODEL = "/api/models/{namespace}/{name}"

ROUTES = (
    Route(_MODEL + "/refs", list_refs),
    Route(_MODEL + "/branch/{branch}", create_branch, methods=["POST"]),
    Route(_MODEL + "/branch/{branch}", delete_branch, methods=["DELETE"]),
    Route(_MODEL + "/tag/{rev}", create_tag, methods=["POST"]),
    Route(_MODEL + "/tag/{rev}", delete_tag, methods=["DELETE"]),
    Route(_MODEL + "/super-squash/{branch}", squash, methods=["POST"]),
    Route(_MODEL + "/commits/{rev}", list_commits),
    Route(_MODEL + "/tree/{rev}", list_tree),
    Route(_MODEL + "/tree/{rev}/{path:path}", list_tree),
    Route(_MODEL + "/paths-info/{rev}", paths_info, methods=["POST"]),
)
