"""What a checkpoint on a Hub is, from its header alone."""

from release.catalog.outline import Outline, Place, outline_of
from release.errors import UsageError, visible
from release.hub.beginning import read_remote_header, read_small_file
from release.hub.client import HubConnection
from release.hub.ingredients import resolve_ingredient
from release.hub.reference import parse_reference
from release.hub.remote import RemoteFile, read_tree, resolve_commit


def remote_outline(connection: HubConnection, reference: str) -> Outline:
    """Return the outline of a safetensors file; only its header is fetched.

    Args:
        connection: Reads only.
        reference: `hf://OWNER/REPO[@REVISION][/FILE]`; without a file, the only
            checkpoint at the top.

    Raises:
        UsageError: `reference`, of another form.
        HubError: The Hub does not have it, refuses, or cannot be reached.
        CheckpointError: It is no safetensors file, or no SDXL model.
    """
    wanted = parse_reference(reference)
    if wanted is None:
        raise UsageError(
            f"{visible(reference)}: expected hf://OWNER/REPO[@REVISION][/FILE]",
            code="reference",
            hint="for example hf://KBlueLeaf/Kohaku-XL-gamma/model.safetensors",
        )
    repo_id = wanted.repo_id
    found = resolve_ingredient(connection, repo_id, wanted.revision, wanted.file)
    file = RemoteFile(found.file, found.nbytes, "", found.sha256)
    header = read_remote_header(connection, repo_id, found.commit, file)
    place = Place(
        hub=repo_id,
        revision=wanted.revision,
        file=found.file,
        sha256=found.sha256 or "",
    )
    tensors = {entry.name: entry for entry in header.tensors}
    return outline_of(place, tensors, header.metadata)


def remote_text(
    connection: HubConnection, repo_id: str, name: str, *, nbytes_max: int
) -> bytes | None:
    """Return a small file of a repository's main branch, None if it has none.

    At most one byte more than `nbytes_max` is fetched.

    Raises:
        HubError: There is no such repository, or the Hub refuses.
    """
    commit = resolve_commit(connection, repo_id, "main")
    file = read_tree(connection, repo_id, commit, recursive=False).get(name)
    if file is None:
        return None
    return read_small_file(connection, repo_id, commit, file, nbytes_max=nbytes_max)
