"""Routes about whole repositories and accounts."""

import yaml
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from release.hub.rehearsal.accounts import Account
from release.hub.rehearsal.protocol import (
    Json,
    RefusedError,
    bad_request,
    iso_date,
    repo_id_of,
    text_at,
)
from release.hub.rehearsal.references import MAIN
from release.hub.rehearsal.repositories import Settings
from release.hub.rehearsal.trees import Entry
from release.hub.rehearsal.visit import Visit


async def whoami(request: Request) -> Response:
    """Answer who the token belongs to."""
    account = Visit(request).signed_in()
    organizations = sorted(
        {_namespace(p) for p in account.writes} - {account.user, "*"}
    )
    return JSONResponse(
        {
            "type": "user",
            "name": account.user,
            "fullname": account.user,
            "orgs": [{"name": org, "roleInOrg": "write"} for org in organizations],
            "auth": {
                "type": "access_token",
                "accessToken": {"displayName": account.role, "role": account.role},
            },
        }
    )


def _namespace(pattern: str) -> str:
    return pattern.partition("/")[0]


def _named(body: Json, account: Account) -> str:
    namespace = text_at(body, "organization", account.user)
    if text_at(body, "type", "model") != "model":
        raise bad_request("This Hub holds models only")
    return repo_id_of(namespace, text_at(body, "name"))


async def create_repo(request: Request) -> Response:
    """Create a repository; 409 with its URL if there is one."""
    visit = Visit(request)
    body = await visit.json()
    repo_id = _named(body, visit.signed_in())
    visit.require_write(repo_id)
    url = f"{visit.hub.endpoint}/{repo_id}"
    if visit.repositories.exists(repo_id):
        message = "You already created this model repo"
        raise RefusedError(409, message, extra={"url": url})
    settings = Settings(
        private=text_at(body, "visibility", "public") == "private",
        created=visit.hub.clock(),
    )
    visit.repositories.create(repo_id, settings, by=visit.signature())
    return JSONResponse({"url": url, "name": repo_id})


async def delete_repo(request: Request) -> Response:
    """Delete a repository."""
    visit = Visit(request)
    repo_id = _named(await visit.json(), visit.signed_in())
    if not visit.repositories.exists(repo_id):
        raise RefusedError(404, "Repository not found", code="RepoNotFound")
    visit.require_write(repo_id)
    visit.repositories.delete(repo_id)
    return JSONResponse({})


async def change_settings(request: Request) -> Response:
    """Change visibility and gating."""
    visit = Visit(request)
    body = await visit.json()
    gated = body.get("gated")
    visibility = text_at(body, "visibility", "")
    if gated not in {None, "auto", "manual", False}:
        raise bad_request('"gated" must be "auto", "manual" or false')
    if visibility not in {"", "public", "private"}:
        raise bad_request('"visibility" must be "public" or "private"')
    with visit.writable():
        visit.repositories.change(
            visit.repo_id,
            private=visibility == "private" if visibility else None,
            gated=gated,
        )
    return JSONResponse({})


async def check_read(request: Request) -> Response:
    """Answer whether the account may download."""
    with Visit(request).downloadable():
        return JSONResponse({})


async def check_write(request: Request) -> Response:
    """Answer whether the account may write."""
    with Visit(request).writable():
        return JSONResponse({})


async def repo_info(request: Request) -> Response:
    """Describe a repository at a revision, main by default."""
    visit = Visit(request)
    named = "rev" in request.path_params
    with visit.readable() as repository:
        sha = repository.resolve(visit.segment("rev") if named else MAIN)
        changed = repository.commit_info(sha).seconds
        entries = repository.entries(sha, folder="", recursive=True)
    settings = visit.repositories.settings(visit.repo_id)
    with_blobs = visit.flag("blobs")
    return JSONResponse(
        {
            "id": visit.repo_id,
            "modelId": visit.repo_id,
            "author": _namespace(visit.repo_id),
            "sha": sha,
            "private": settings.private,
            "gated": settings.gated,
            "disabled": False,
            "createdAt": iso_date(settings.created),
            "lastModified": iso_date(changed),
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": [
                _sibling(entry, with_blobs=with_blobs)
                for entry in entries
                if not entry.is_folder
            ],
        }
    )


def _sibling(entry: Entry, *, with_blobs: bool) -> Json:
    fields: dict[str, object] = {"rfilename": entry.path}
    if with_blobs:
        fields |= {"size": entry.size, "blobId": entry.oid}
    if with_blobs and entry.pointer:
        fields["lfs"] = {
            "sha256": entry.pointer.sha256,
            "size": entry.size,
            "pointerSize": len(entry.pointer.text()),
        }
    return fields


async def validate_card(request: Request) -> Response:
    """Check a card's metadata block: 400 if it is not YAML or not a mapping."""
    text = text_at(await Visit(request).json(), "content")
    lines = text.splitlines()
    if not lines or lines[0].strip() != "---" or "---" not in lines[1:]:
        message = "empty or missing yaml metadata in repo card"
        return JSONResponse({"errors": [], "warnings": [{"message": message}]})
    block = "\n".join(lines[1 : lines.index("---", 1)])
    try:
        metadata = yaml.safe_load(block)
    except yaml.YAMLError as error:
        problem = str(error).replace("\n", " ")
        return _invalid_card(f"Invalid YAML in the metadata: {problem}")
    if not isinstance(metadata, dict):
        return _invalid_card("The metadata must be a mapping")
    return JSONResponse({"errors": [], "warnings": []})


def _invalid_card(message: str) -> Response:
    body = {"error": message, "errors": [{"message": message}], "warnings": []}
    return JSONResponse(body, status_code=400)


_MODEL = "/api/models/{namespace}/{name}"

ROUTES = (
    Route("/api/whoami-v2", whoami),
    Route("/api/repos/create", create_repo, methods=["POST"]),
    Route("/api/repos/delete", delete_repo, methods=["DELETE"]),
    Route("/api/validate-yaml", validate_card, methods=["POST"]),
    Route(_MODEL + "/settings", change_settings, methods=["PUT"]),
    Route(_MODEL + "/auth-check", check_read),
    Route(_MODEL + "/auth-check/write", check_write),
    Route(_MODEL + "/revision/{rev}", repo_info),
    Route(_MODEL, repo_info),
)
