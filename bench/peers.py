"""What krelease is compared with: where it is, its version, or why it is missing."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from scratch import CACHE, CHECKOUT, HERE
from timing import BenchError, spawn

SD_MECHA_VERSION = "1.1.8"

_VERSIONS = (
    "import sys; from importlib.metadata import version; "
    "print(', '.join(f'{name} {version(name)}' for name in sys.argv[1:]))"
)


@dataclass(frozen=True, slots=True)
class SdMecha:
    """sd-mecha's own environment; `missing` says why there is none."""

    python: Path
    versions: str = ""
    missing: str = ""


def prepare_sd_mecha() -> SdMecha:
    """Return sd-mecha's environment, installed if it is not there yet."""
    folder = CACHE / "sd-mecha"
    python = folder / "bin" / "python"
    try:
        if not _is_installed(python):
            CACHE.mkdir(exist_ok=True)
            spawn([sys.executable, "-m", "venv", "--clear", folder])
            spawn(
                [
                    *(python, "-m", "pip", "install", "--quiet"),
                    *("--constraint", CHECKOUT / "constraints.txt"),
                    *("torch", f"sd-mecha=={SD_MECHA_VERSION}"),
                ]
            )
        return SdMecha(python, versions(python, "sd-mecha", "torch"))
    except BenchError as error:
        return SdMecha(python, missing=str(error))


def _is_installed(python: Path) -> bool:
    if not python.exists():
        return False
    try:
        return versions(python, "sd-mecha") == f"sd-mecha {SD_MECHA_VERSION}"
    except BenchError:
        return False


def versions(python: Path | str, *names: str) -> str:
    """Return the installed versions of packages as "name 1.0, other 2.0".

    Raises:
        BenchError: One is not installed.
    """
    return spawn([python, "-c", _VERSIONS, *names]).stdout.strip()


def xxh128sum() -> tuple[list[str | Path], str]:
    """Return the command that hashes a file, and what it is called."""
    program = shutil.which("xxh128sum")
    if program is not None:
        said = spawn(["sh", "-c", '"$0" --version 2>&1', program]).stdout
        return [program], said.split(" by ")[0]
    name = f"a loop over {versions(sys.executable, 'xxhash')} (no xxh128sum here)"
    return [sys.executable, HERE / "peer_xxh128.py"], name
