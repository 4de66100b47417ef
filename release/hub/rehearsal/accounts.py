"""Who may read and write on a rehearsal Hub: a table of tokens and their rights."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

REHEARSAL_USER: Final = "rehearsal"
"""User name, and so the default namespace, of the default accounts."""
SCOPED_REPO: Final = f"{REHEARSAL_USER}/scoped"
"""The only repository that the default scoped token may touch."""

_EVERYTHING: Final = ("*",)


def new_token() -> str:
    """Return a fresh token of the Hub's form; it opens nothing but this rehearsal."""
    return f"hf_{secrets.token_hex(17)}"


@dataclass(frozen=True, slots=True)
class Account:
    """One token, its user and its rights.

    Patterns are shell patterns over `namespace/name`; `*` also matches `/`.
    """

    user: str
    writes: tuple[str, ...] = ()
    """Repositories the token may write and create; none for a read-only token."""
    reads: tuple[str, ...] = _EVERYTHING
    """Private repositories the token may read. Public ones are open to all."""
    expired: bool = False
    token: str = field(default_factory=new_token, repr=False)

    @property
    def role(self) -> str:
        """The Hub's word for the token: `write`, `read` or `fineGrained`."""
        if not self.writes:
            return "read"
        return "write" if self.writes == _EVERYTHING else "fineGrained"

    def may_write(self, repo_id: str) -> bool:
        """Return whether the token may create, change and delete `repo_id`."""
        return any(fnmatchcase(repo_id, pattern) for pattern in self.writes)

    def may_read(self, repo_id: str) -> bool:
        """Return whether the token may see `repo_id` if that is private."""
        return any(fnmatchcase(repo_id, pattern) for pattern in self.reads)


def default_accounts() -> tuple[Account, Account, Account, Account]:
    """Return write, read-only, expired and scoped accounts with fresh tokens.

    The first may write in every namespace, so a release can be rehearsed under the
    repository name it will really have.
    """
    scope = (SCOPED_REPO,)
    return (
        Account(REHEARSAL_USER, writes=_EVERYTHING),
        Account(REHEARSAL_USER),
        Account(REHEARSAL_USER, writes=_EVERYTHING, expired=True),
        Account(REHEARSAL_USER, writes=scope, reads=scope),
    )


class AccountTable:
    """The accounts a Hub knows, by token."""

    def __init__(self, accounts: Iterable[Account]) -> None:
        self._accounts = {account.token: account for account in accounts}
        self._revoked: set[str] = set()

    def find(self, token: str) -> Account | None:
        """Return the account of a token that is known and not revoked."""
        return None if token in self._revoked else self._accounts.get(token)

    def revoke(self, token: str) -> None:
        """Make `token` unknown from now on."""
        self._revoked.add(token)
