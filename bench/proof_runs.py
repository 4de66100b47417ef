"""Single runs of what proves a checkpoint, and of the programs beside it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from merge_runs import Recipe
from runs import KRELEASE
from scratch import HERE
from timing import BenchError, PeerError, Sample, spawn

_INTEGRITY_ERROR: Final = 5
_PARITY_ERROR: Final = 6
_DAMAGED_BYTE: Final = 1_000_003
"""Counted from the end of a checkpoint, well within its data."""

_N_COPIED: Final = 2
"""Tensors of a merge that are an ingredient's: position_ids and logit_scale."""

_REPO_ID: Final = "bench/kept"


@dataclass(frozen=True, slots=True)
class Kept:
    """A release of rev2 that was built to be looked at, with one checkpoint."""

    folder: Path
    checkpoint: Path
    xxh3_128: str
    sha256: str


def kept_release(folder: Path, built: Sample) -> Kept:
    """Return what `krelease build --json` says that it has put into `folder`."""
    (record,) = json.loads(built.stdout)["checkpoints"]
    path = folder / record["name"]
    return Kept(folder, path, record["xxh3_128"], record["sha256"])


def verify(path: Path, *, threads: int) -> Sample:
    """Verify a checkpoint that is intact."""
    return _intact([KRELEASE, "verify", path, "--json", "--threads", str(threads)])


def verify_identity(folder: Path) -> Sample:
    """Verify an intact release folder by SHA-256 as well."""
    return _intact([KRELEASE, "verify", folder, "--json", "--sha256"])


def _intact(command: Sequence[str | Path]) -> Sample:
    sample = spawn(command)
    if json.loads(sample.stdout)["intact"] is not True:
        raise BenchError(f"krelease verify {command[2]}: did not say that it is intact")
    return sample


def verify_pass(path: Path, *, threads: int) -> Sample:
    """Verify within a process that is already running."""
    script = HERE / "verify_pass.py"
    sample = spawn([sys.executable, script, path, str(threads)])
    return replace(sample, seconds=float(sample.stdout))


def hash_file(command: Sequence[str | Path], path: Path, digest: str) -> Sample:
    """Hash a file with any program, which must print the digest of the manifest."""
    sample = spawn([*command, path])
    if digest not in sample.stdout:
        raise BenchError(f"{command[0]} {path}: the manifest has another digest")
    return sample


def hf_cache_verify(address: str, kept: Kept) -> Sample:
    """Compare a folder with what a Hub says, by huggingface_hub's command.

    Args:
        address: Of a Hub that knows the checkpoint.
        kept: Its folder may hold other files; they are not looked at.

    Raises:
        PeerError: It failed, or did not look at exactly one file.
    """
    program = KRELEASE.with_name("hf")
    words = ["cache", "verify", _REPO_ID, "--local-dir", str(kept.folder), "--json"]
    settings = [
        f"HF_ENDPOINT={address}",
        f"HF_HOME={kept.folder.parent / 'hf'}",
        "HF_HUB_DISABLE_UPDATE_CHECK=1",
        "NO_PROXY=127.0.0.1",
    ]
    try:
        sample = spawn(["env", *settings, program, *words])
    except BenchError as error:
        raise PeerError(str(error)) from error
    if json.loads(sample.stdout)["checked"] != 1:
        raise PeerError(f"hf cache verify: looked at another file: {sample.stdout}")
    return sample


@contextmanager
def stub_hub(kept: Kept) -> Iterator[str]:
    """Give the address of a Hub that knows the kept checkpoint and nothing else."""
    nbytes = str(kept.checkpoint.stat().st_size)
    words = [str(HERE / "stub_hub.py"), kept.checkpoint.name, nbytes, kept.sha256]
    with subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            address = child.stdout.readline().strip() if child.stdout else ""
            if not address:
                raise BenchError("the stub of a Hub did not start")
            yield address
        finally:
            child.terminate()


def require_damage_is_seen(path: Path) -> None:
    """Change one byte, so that a verify that reads nothing could not have won."""
    with path.open("r+b") as file:
        file.seek(-min(_DAMAGED_BYTE, path.stat().st_size // 2), os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    spawn([KRELEASE, "verify", path, "--json"], expected=_INTEGRITY_ERROR)


def cat(paths: Sequence[Path]) -> Sample:
    """Read files and do nothing with them."""
    return spawn(["sh", "-c", 'cat "$@" > /dev/null', "sh", *paths])


def parity(path: Path, other: Path) -> Sample:
    """Compare two checkpoints of which all but the copied tensors differ."""
    command: list[str | Path] = [KRELEASE, "parity", path, other, "--json"]
    sample = spawn(command, expected=_PARITY_ERROR)
    total = json.loads(sample.stdout)["total"]
    if total["n_failed"] < total["n_tensors"] - _N_COPIED:
        raise BenchError(f"krelease parity {path}: {total}")
    return sample


def audit(path: Path, recipe: Recipe, *options: str) -> Sample:
    """Audit a checkpoint that follows the recipe in its header exactly."""
    given = [f"--ingredient={pair}" for pair in recipe.pairs]
    sample = spawn([KRELEASE, "audit", path, *given, "--json", *options])
    said = json.loads(sample.stdout)
    if said["verdict"] != "exact" or said["whole"] is not ("--sample" not in options):
        raise BenchError(f"krelease audit {path}: {said['sentence']}")
    return sample
