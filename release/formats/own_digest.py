"""What a file's own header says of its tensors, against what was read."""

from release.errors import IntegrityError, visible
from release.formats.checkpoint import Checkpoint, SafetensorsCheckpoint
from release.metadata import TENSOR_SET_KEY


def check_own_digest(checkpoint: Checkpoint, digest: str) -> None:
    """Refuse a checkpoint whose tensors are not those that krelease once wrote.

    Args:
        checkpoint: Passes if its header carries no digest, or if its tensors come from
            several files or under other names than in the file.
        digest: Of the set of all its tensors, as they were read.

    Raises:
        IntegrityError: `source-damaged`.
    """
    if not isinstance(checkpoint, SafetensorsCheckpoint):
        return
    carried = checkpoint.metadata.get(TENSOR_SET_KEY, "")
    if carried and carried != digest:
        raise IntegrityError(
            f"{visible(checkpoint.path, 1024)}: its tensors are not those whose "
            "digests its header carries",
            code="source-damaged",
            hint="krelease verify names the tensors; if another program changed them "
            "and kept the digests, pass --unverified",
        )
