"""What krelease is compared with: where it is, its version, or why it is missing.

Each peer has an environment of its own in `.bench`, made when it is first needed.
"""

import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from scratch import CACHE, CHECKOUT, HERE
from timing import BenchError, spawn

INSTALL_SECONDS = 600
"""Longest try to install one peer; one of them is compiled meanwhile."""

_PACKAGES_FOLDER = "import sysconfig; print(sysconfig.get_path('purelib'))"
_VERSIONS = (
    "import sys; from importlib.metadata import version; "
    "print(', '.join(f'{name} {version(name)}' for name in sys.argv[1:]))"
)


@dataclass(frozen=True, slots=True)
class Peer:
    """A package in an environment of its own; `missing` says why it is not there."""

    name: str
    python: Path
    versions: str = ""
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Package:
    """What to install.

    Attributes:
        name: On the package index.
        version: The one that is measured.
        companions: What it needs and does not ask for itself.
        borrows_torch: Whether it uses the packages of krelease's environment, torch
            among them, beside its own. The casts are then the very same ones.
        shown: Further packages whose versions matter.
    """

    name: str
    version: str
    companions: tuple[str, ...] = ()
    borrows_torch: bool = False
    shown: tuple[str, ...] = ()


SD_MECHA = Package("sd-mecha", "1.1.8", companions=("torch",), shown=("torch",))
MERGEKIT = Package("mergekit", "0.1.5", companions=("torch",), shown=("torch",))
CONVERT_TO_QUANT = Package(
    "convert-to-quant", "1.3.4", companions=("tqdm",), borrows_torch=True
)
SD_CPP = Package("stable-diffusion-cpp-python", "0.4.7")


def prepare(package: Package) -> Peer:
    """Return a peer, installed if it is not there yet."""
    python = CACHE / package.name / "bin" / "python"
    try:
        if not _is_installed(package, python):
            _install(package, python)
        found = versions(python, package.name, *package.shown)
    except BenchError as error:
        return Peer(package.name, python, missing=f"not installed: {error.reason}")
    return Peer(package.name, python, found)


def _install(package: Package, python: Path) -> None:
    CACHE.mkdir(exist_ok=True)
    folder = CACHE / package.name
    spawn([sys.executable, "-m", "venv", "--clear", folder])
    if package.borrows_torch:
        own = spawn([sys.executable, "-c", _PACKAGES_FOLDER]).stdout
        theirs = Path(spawn([python, "-c", _PACKAGES_FOLDER]).stdout.strip())
        (theirs / "borrowed.pth").write_text(own, encoding="utf-8")
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:  # a killed build leaves it
        spawn(
            [
                *("env", f"TMPDIR={scratch}"),
                *(python, "-m", "pip", "install", "--quiet"),
                *("--constraint", CHECKOUT / "constraints.txt"),
                *package.companions,
                f"{package.name}=={package.version}",
            ],
            limit=INSTALL_SECONDS,
        )


def _is_installed(package: Package, python: Path) -> bool:
    if not python.exists():
        return False
    try:
        return versions(python, package.name) == f"{package.name} {package.version}"
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


def sha256sum() -> str:
    """Return what the program that ships with every system calls itself."""
    return spawn(["sha256sum", "--version"]).stdout.splitlines()[0]
