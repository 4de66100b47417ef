"""Where the benchmark works, what it works on, and that nothing of it is left."""

import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from machine import available_memory, file_system
from timing import BenchError, spawn

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent
CACHE = CHECKOUT / ".bench"
"""What is kept between runs (the peers' environments), and a slower place to work."""

MEMORY = Path("/dev/shm")  # noqa: S108 - a file system in memory, not a shared file
CATALOG = CHECKOUT / "release" / "catalog" / "gamma-rev2.toml"
NAMES = ("anxl2", "anxl3", "base8", "beta7")

SOURCE = "beta7"
"""The checkpoint that is converted."""

FULL_WIDTH_NBYTES = 6_940_000_000
"""Of one F16 checkpoint."""

_FILES_AT_ONCE = 8
"""The four ingredients and, for a moment, the largest outputs and a peer's tensors."""

_FILES_OF_SOURCE = 4
"""The source, its fp8 variant twice, and once fp16."""

_MEMORY_OF_SCRIPT_NBYTES = 14_000_000_000
"""At full width: what the script holds, some of it shared with the page cache."""


@dataclass(frozen=True, slots=True)
class Material:
    """The folder to work in, what lies there, and the definitions to build.

    Attributes:
        folder: It is removed at the end.
        divisor: Of SDXL's widths.
        only_source: Whether there is only the checkpoint to convert.
        file_system: Where the folder lies, such as "ext4".
    """

    folder: Path
    divisor: int
    only_source: bool = False
    file_system: str = ""

    @property
    def ingredients(self) -> dict[str, Path]:
        """Ingredient name -> path."""
        return {name: self.folder / f"{name}.safetensors" for name in NAMES}

    @property
    def pairs(self) -> list[str]:
        """The ingredients as NAME=PATH."""
        return [f"{name}={path}" for name, path in self.ingredients.items()]

    @property
    def source(self) -> Path:
        """The checkpoint that is converted, in F16."""
        return self.ingredients[SOURCE]

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
def material(divisor: int, *, place: Path | None = None) -> Iterator[Material]:
    """Make the ingredients, and remove the whole folder whatever happens.

    Args:
        divisor: Of SDXL's widths.
        place: Where to work; chosen if None.

    Raises:
        BenchError: There is no room, or the ingredients cannot be made.
    """
    needed = _FILES_AT_ONCE * FULL_WIDTH_NBYTES // divisor**2
    chosen = choose_place(needed) if place is None else _roomy(place, needed)
    with _made(chosen, divisor, NAMES) as made:
        yield made


@contextmanager
def source_on_disk(divisor: int, *, place: Path | None = None) -> Iterator[Material]:
    """Make only the checkpoint to convert, on a disk, and remove it at the end.

    At full width, what is measured would not fit into memory beside its files.

    Args:
        divisor: Of SDXL's widths.
        place: Where to work; the system's temporary directory if None.

    Raises:
        BenchError: The place will not do, or the checkpoint cannot be made.
    """
    files = _FILES_OF_SOURCE * FULL_WIDTH_NBYTES // divisor**2
    chosen = choose_disk(place or Path(tempfile.gettempdir()), files)
    memory = _MEMORY_OF_SCRIPT_NBYTES // divisor**2
    if available_memory() < memory:
        raise BenchError(
            f"{memory / 1e9:.0f} GB of memory are needed for the script that is "
            f"compared, {available_memory() / 1e9:.1f} GB are available"
        )
    with _made(chosen, divisor, [SOURCE]) as made:
        yield replace(made, only_source=True)


@contextmanager
def _made(place: Path, divisor: int, names: Sequence[str]) -> Iterator[Material]:
    folder = Path(tempfile.mkdtemp(prefix="krelease-bench-", dir=place))
    try:
        make_stand_ins(folder, divisor, names)
        yield Material(folder, divisor, file_system=_file_system(folder))
    finally:
        shutil.rmtree(folder)


def make_stand_ins(
    folder: Path, divisor: int, names: Sequence[str], dtype: str = "F16"
) -> None:
    """Write checkpoints of random values, in a child of its own.

    Raises:
        BenchError: They cannot be made.
    """
    spawn([sys.executable, HERE / "stand_ins.py", folder, str(divisor), dtype, *names])


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
        f"{needed / 1e9:.0f} GB are needed; {MEMORY} and {CACHE} have no room for it: "
        "name a folder with --scratch"
    )


def choose_disk(place: Path, needed: int) -> Path:
    """Return `place` if it lies on a disk and has room for `needed` bytes.

    Raises:
        BenchError: It does not.
    """
    if _file_system(place) in {"tmpfs", "ramfs"}:
        raise BenchError(f"{place} lies in memory: name a folder on a disk, --scratch")
    return _roomy(place, needed)


def _roomy(place: Path, needed: int) -> Path:
    if not place.is_dir():
        raise BenchError(f"{place}: not a folder; name one with --scratch")
    free = _free(place)
    if free < needed:
        raise BenchError(
            f"{needed / 1e9:.0f} GB are needed, {place} has {free / 1e9:.0f} GB: name "
            "another folder with --scratch"
        )
    return place


def _file_system(folder: Path) -> str:
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8")
    return file_system(folder.resolve(), mounts)


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free
