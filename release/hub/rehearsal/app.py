"""The Hub's routes put together, and every refusal turned into a JSON answer."""

from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from release.hub.rehearsal import (
    commit_routes,
    file_routes,
    repo_routes,
    revision_routes,
    upload_routes,
)
from release.hub.rehearsal.protocol import RefusedError
from release.hub.rehearsal.state import HubState

_HEADER_CHARACTERS: Final = 1_000


def build_app(hub: HubState) -> Starlette:
    """Return the application that serves `hub`."""
    app = Starlette(
        routes=[
            *repo_routes.ROUTES,
            *revision_routes.ROUTES,
            *commit_routes.ROUTES,
            *upload_routes.ROUTES,
            *file_routes.ROUTES,
        ],
        exception_handlers={
            RefusedError: _refused,
            HTTPException: _no_route,
            Exception: _broken,
        },
    )
    app.router.redirect_slashes = False
    app.state.hub = hub
    return app


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, RefusedError):
        raise error
    headers = {"X-Error-Message": _header_text(error.message), **error.headers}
    if error.code:
        headers["X-Error-Code"] = error.code
    return _answer(
        request, error.status, {"error": error.message, **error.extra}, headers
    )


async def _no_route(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    return _answer(request, status, {"error": "Not Found"}, {})


async def _broken(request: Request, error: Exception) -> Response:
    message = f"{type(error).__name__}: {error}"
    headers = {"X-Error-Message": _header_text(message)}
    return _answer(request, 500, {"error": message}, headers)


def _answer(
    request: Request, status: int, body: dict[str, object], headers: dict[str, str]
) -> Response:
    answer = JSONResponse(body, status, headers)
    if request.method == "HEAD":
        answer.body = b""
    return answer


def _header_text(message: str) -> str:
    shown = message[:_HEADER_CHARACTERS]
    printable = "".join(char if char.isprintable() else " " for char in shown)
    return printable.encode("ascii", "replace").decode().strip()
