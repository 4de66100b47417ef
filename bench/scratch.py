"""Where the benchmark works, what it works on, and that nothing of it is left."""

import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from machine import available_memory
from timing import BenchError, spawn

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent
CACHE = CHECKOUT / ".bench"
"""What is kept between runs (the peer's environment), and the slower place to work."""

MEMORY = Path("/dev/shm")  # noqa: S108 - a file system in memory, not a shared file
CATALOG = CHECKOUT / "release" / "catalog" / "gamma-rev2.toml"
NAMES = ("anxl2", "anxl3", "base8", "beta7")

_HALF_WIDTH_NBYTES = 1_740_000_000
_FILES_AT_ONCE = 8
"""The four ingredients and, for a moment, the largest outputs and a peer's tensors."""


@dataclass(frozen=True, slots=True)
class Material:
    """The folder to work in, its ingredients, and the definitions to build."""

    folder: Path
    divisor: int

    @property
    def ingredients(self) -> dict[str, Path]:
        """Ingredient name -> path."""
        return {name: self.folder / f"{name}.safetensors" for name in NAMES}

    @property
    def pairs(self) -> list[str]:
        """The ingredients as NAME=PATH."""
        return [f"{name}={path}" for name, path in self.ingredients.items()]

    def definition(self, variants: Sequence[str]) -> Path:
        """Return the path of the catalog's definition with other variants."""
        path = self.folder / f"rev2-{'-'.join(variants)}.toml"
        path.write_text(
            derive(CATALOG.read_text(encoding="utf-8"), variants), encoding="utf-8"
        )
        return path


def derive(text: str, variants: Sequence[str]) -> str:
    """Return a definition with these variants and no archives, else unchanged.

    Raises:
        BenchError: The text does not state both on lines of their own.
    """
    listed = ", ".join(f'"{variant}"' for variant in variants)
    text, n_variants = re.subn(
        r"^variants = \[.*\]$", f"variants = [{listed}]", text, flags=re.MULTILINE
    )
    text, n_archives = re.subn(
        r"^archives = \[.*\]$", "archives = []", text, flags=re.MULTILINE
    )
    release = tomllib.loads(text)["release"]
    if (n_variants, n_archives) != (1, 1) or release["variants"] != list(variants):
        raise BenchError(f"{CATALOG}: variants and archives are not where expected")
    return text


@contextmanager
def material(divisor: int) -> Iterator[Material]:
    """Make the ingredients, and remove the whole folder whatever happens.

    Raises:
        BenchError: There is no room, or the ingredients cannot be made.
    """
    needed = _FILES_AT_ONCE * _HALF_WIDTH_NBYTES * 4 // divisor**2
    folder = Path(tempfile.mkdtemp(prefix="krelease-bench-", dir=choose_place(needed)))
    try:
        spawn([sys.executable, HERE / "stand_ins.py", folder, str(divisor), *NAMES])
        yield Material(folder, divisor)
    finally:
        shutil.rmtree(folder)


def choose_place(needed: int) -> Path:
    """Return memory if `needed` bytes fit there, else `.bench` in the checkout.

    Raises:
        BenchError: They fit in neither.
    """
    if MEMORY.is_dir() and min(_free(MEMORY), available_memory()) >= needed:
        return MEMORY
    CACHE.mkdir(exist_ok=True)
    if _free(CACHE) >= needed:
        return CACHE
    raise BenchError(
        f"{needed / 1e9:.0f} GB are needed; {MEMORY} and {CACHE} have no room for it"
    )


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free
