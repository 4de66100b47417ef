"""The one question: is this what it says it is?

Two levels: xxh3 of every tensor and of the header, which finds accidents and names the
damaged tensors; and SHA-256 beside it, which is identity. A checkpoint that krelease
wrote carries its tensors' digests and needs nothing beside it.
"""

from pathlib import Path

from release.formats.open import open_safetensors
from release.metadata import RELEASE_KEY, STAND_IN_KEY
from release.progress import Progress
from release.verify.alone import shown, verify_alone
from release.verify.report import Level, VerifyReport


def verify(
    path: Path, *, level: Level, threads: int, progress: Progress
) -> VerifyReport:
    """Check a release folder against its manifest, or a file against its own header.

    Args:
        path: A folder with a manifest.json, or a safetensors file.
        level: "sha256" checks identity as well, at SHA-256's speed.
        threads: Worker threads; tensors are hashed in parallel.
        progress: Where the stages are shown.

    Raises:
        InputError: Nothing is there, or a folder without a manifest.
        CheckpointError: A single file that is no safetensors file.
        IntegrityError: The manifest itself is not valid.
    """
    if path.is_dir():
        from release.verify.folder import verify_folder  # the manifest needs pydantic

        return verify_folder(path, level=level, threads=threads, progress=progress)
    with open_safetensors(path) as checkpoint:
        stages = 2 if level == "sha256" else 1
        with progress.stage("verify", checkpoint.nbytes * stages) as advance:
            found = verify_alone(
                checkpoint, level=level, threads=threads, advance=advance
            )
    return VerifyReport(
        path=path,
        level=level,
        release=shown(checkpoint, RELEASE_KEY),
        rehearsal=STAND_IN_KEY in checkpoint.metadata,
        files=(found,),
    )
