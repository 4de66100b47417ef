"""Licence texts of ingredients on a Hub, at the commit that they are pinned to."""

from release.hub.beginning import read_small_file
from release.hub.client import HubConnection
from release.hub.ingredients import HubFile
from release.hub.remote import read_tree
from release.licences.texts import LICENCE_NBYTES_MAX, FoundText
from release.metadata import LICENCE_NAMES


def fetch_licence(connection: HubConnection, hub_file: HubFile) -> FoundText | None:
    """Return the licence text at the top of an ingredient's repository.

    Args:
        connection: Reads only.
        hub_file: From `release.hub.ingredients.resolve_ingredient`.

    Returns:
        The text, cut one byte after `LICENCE_NBYTES_MAX`; None if there is none.

    Raises:
        HubError: The Hub refuses or cannot be reached.
    """
    repo_id, commit = hub_file.repo_id, hub_file.commit
    tree = read_tree(connection, repo_id, commit, recursive=False)
    name = next((name for name in LICENCE_NAMES if name in tree), None)
    if name is None:
        return None
    text = read_small_file(
        connection, repo_id, commit, tree[name], nbytes_max=LICENCE_NBYTES_MAX
    )
    return FoundText(text, f"{repo_id}/{name} at {commit[:12]}")
