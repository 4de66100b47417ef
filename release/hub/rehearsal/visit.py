"""One request as the routes see it: who asks, for what, and with which right."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeVar, cast
from urllib.parse import parse_qsl, quote, unquote, urlencode

from starlette.requests import Request

from release.hub.rehearsal.accounts import Account
from release.hub.rehearsal.protocol import (
    Json,
    RefusedError,
    bad_request,
    json_object,
    repo_id_of,
)
from release.hub.rehearsal.repositories import Repositories
from release.hub.rehearsal.repository import Repository, Signature

if TYPE_CHECKING:
    from release.hub.rehearsal.state import HubState

_Item = TypeVar("_Item")
_CURSOR_DIGITS: Final = 18


class Visit:
    """A request, its account and the state of the Hub."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.hub = cast("HubState", request.app.state.hub)
        self.repositories = Repositories(self.hub.folder)

    def segment(self, name: str) -> str:
        """Return one part of the route, percent-decoded."""
        return unquote(cast("str", self.request.path_params[name]))

    def flag(self, name: str) -> bool:
        """Return whether a query parameter is switched on."""
        return self.request.query_params.get(name, "").lower() in {"1", "true"}

    @property
    def repo_id(self) -> str:
        """The repository in the path."""
        return repo_id_of(self.segment("namespace"), self.segment("name"))

    @property
    def account(self) -> Account | None:
        """Who asks; None without a token.

        Raises:
            RefusedError: 401; the token is unknown, revoked or expired.
        """
        header = self.request.headers.get("authorization", "")
        if not header:
            return None
        found = self.hub.accounts.find(header.removeprefix("Bearer "))
        if found is None:
            raise RefusedError(401, "Invalid credentials in Authorization header")
        if found.expired:
            raise RefusedError(401, "The access token has expired")
        return found

    def signed_in(self) -> Account:
        """Return who asks. Raises RefusedError (401) without a token."""
        account = self.account
        if account is None:
            raise RefusedError(401, "Invalid username or password.")
        return account

    def signature(self) -> Signature:
        """Return who asks, and the time now, for a commit or tag."""
        return Signature(self.signed_in().user, int(self.hub.clock()))

    async def json(self) -> Json:
        """Return the body, a JSON object."""
        return json_object(await self.request.body())

    def readable(self) -> Repository:
        """Open the repository in the path for looking at it.

        Raises:
            RefusedError: 404, or 401 without a token, when there is none or when it is
                private and not for this account.
        """
        account, repo_id = self.account, self.repo_id
        if not self._may_see(account, repo_id):
            raise RefusedError(
                401 if account is None else 404,
                "Repository not found",
                code="RepoNotFound",
            )
        return self.repositories.open(repo_id)

    def _may_see(self, account: Account | None, repo_id: str) -> bool:
        if not self.repositories.exists(repo_id):
            return False
        if not self.repositories.settings(repo_id).private:
            return True
        return account is not None and account.may_read(repo_id)

    def writable(self) -> Repository:
        """Open the repository in the path for changing it.

        Raises:
            RefusedError: As `readable`; 401 without a token, 403 without the right.
        """
        repository = self.readable()
        try:
            self.require_write(self.repo_id)
        except RefusedError:
            repository.git.close()
            raise
        return repository

    def require_write(self, repo_id: str) -> None:
        """Raise RefusedError (401, 403) unless the account may write `repo_id`."""
        if not self.signed_in().may_write(repo_id):
            raise RefusedError(
                403,
                "You don't have the rights to write to "
                f"{repo_id} with this token, whose role does not allow it",
            )

    def downloadable(self) -> Repository:
        """Open the repository in the path for reading its files.

        Raises:
            RefusedError: As `readable`; 401 or 403 with the code `GatedRepo` where the
                repository is gated and the account is not one of its writers.
        """
        repository = self.readable()
        account = self.account
        is_writer = account is not None and account.may_write(self.repo_id)
        if self.repositories.settings(self.repo_id).gated and not is_writer:
            repository.git.close()
            raise RefusedError(
                401 if account is None else 403,
                f"Access to model {self.repo_id} is restricted",
                code="GatedRepo",
            )
        return repository

    def page(
        self, items: Sequence[_Item], size: int
    ) -> tuple[Sequence[_Item], dict[str, str]]:
        """Return one page of `items` and the header that leads to the next."""
        cursor = self.request.query_params.get("cursor", "0")
        if not cursor.isdecimal() or len(cursor) > _CURSOR_DIGITS:
            raise bad_request("Invalid cursor")
        start = int(cursor)
        end = start + size
        if end >= len(items):
            return items[start:], {}
        query = [
            pair for pair in parse_qsl(self.request.url.query) if pair[0] != "cursor"
        ]
        path = quote(self.request.scope["raw_path"], safe="/%")
        link = f"{self.hub.endpoint}{path}?{urlencode([*query, ('cursor', end)])}"
        return items[start:end], {"Link": f'<{link}>; rel="next"'}
