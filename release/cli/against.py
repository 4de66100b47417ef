"""What `--against` says, whoever has to be asked for it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from release.claims.claim import Claim
    from release.console import Console


def read_against(what: str, console: "Console") -> "tuple[Claim, ...]":
    """Return what the user's `--against` says, asking the Hub if it is one's.

    Raises:
        UsageError: `against`, of no known form.
        InputError: It is no regular file, or is not there.
        IntegrityError: The file is no manifest and no sums file.
        HubError: The Hub does not have it, refuses, or cannot be reached.
    """
    from release.claims.named import HubRevision, read_named

    named = read_named(what)
    if not isinstance(named, HubRevision):
        return named
    from release.hub.claims import hub_claims
    from release.hub.client import connect

    console.note(f"look up on the Hub: {named.repo_id} at {named.revision}")
    with connect() as connection:
        return hub_claims(connection, named.repo_id, named.revision)
