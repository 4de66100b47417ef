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

_FILES_OF_SOURCE = 3
"""The source and, for a moment, its fp16 and fp8 variants."""

_FILES_OF_MERGE = 5
"""The four ingredients and the result."""

_FILES_AND_SCRIPT_NBYTES = 19_000_000_000
"""Of memory, at full width, where the files lie there, too.

The source, its fp8 variant twice, and the tensors that the script has cast: it maps
the source. The fp16 variant is made at another time. A tenth is to spare.
"""

_MEMORY_OF_SCRIPT_NBYTES = 14_000_000_000
"""Of memory, at full width, with files on a disk: the script, and pages it maps."""

_IN_MEMORY = {"tmpfs", "ramfs"}


class NoRoomError(BenchError):
    """There is nowhere to put what is measured."""


@dataclass(frozen=True, slots=True)
class Material:
    """The folder to work in, what lies there, and the definitions to build.

    Attributes:
        folder: It is removed at the end.
        divisor: Of SDXL's widths.
        file_system: Where the folder lies, such as "ext4".
    """

    folder: Path
    divisor: int
    file_system: str = ""

    @property
    def is_on_disk(self) -> bool:
        """Whether what is written goes to a disk."""
        return self.file_system not in _IN_MEMORY

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
def source_alone(divisor: int, *, place: Path | None = None) -> Iterator[Material]:
    """Make only the checkpoint to convert, and remove it at the end.

    Args:
        divisor: Of SDXL's widths.
        place: Where to work. If None: memory, if what is measured fits there beside
            its files, else the system's temporary directory.

    Raises:
        BenchError: There is no room, or the checkpoint cannot be made.
    """
    with _made(choose_place_of_source(divisor, place), divisor, [SOURCE]) as made:
        yield made


@contextmanager
def material_on_disk(divisor: int, *, place: Path | None = None) -> Iterator[Material]:
    """Make the ingredients where they and their merge fit, and remove them at the end.

    Args:
        divisor: Of SDXL's widths.
        place: Where to work; the system's temporary directory if None.

    Raises:
        BenchError: There is no room, or the ingredients cannot be made.
    """
    needed = _FILES_OF_MERGE * FULL_WIDTH_NBYTES // divisor**2
    chosen = _roomy(place or Path(tempfile.gettempdir()), needed)
    with _made(chosen, divisor, NAMES) as made:
        yield made


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
        NoRoomError: They fit in neither.
    """
    if MEMORY.is_dir() and _free(MEMORY) >= needed:
        return MEMORY
    CACHE.mkdir(exist_ok=True)
    if _free(CACHE) >= needed:
        return CACHE
    raise NoRoomError(
        f"{needed / 1e9:.0f} GB are needed; {MEMORY} and {CACHE} have no room for it: "
        "name a folder with --scratch"
    )


def choose_place_of_source(divisor: int, place: Path | None) -> Path:
    """Return where to measure conversions of one checkpoint.

    Args:
        divisor: Of SDXL's widths.
        place: The folder that is wished for.

    Raises:
        NoRoomError: It has no room for the files, or the memory none for the script
            that is compared.
    """
    both = _FILES_AND_SCRIPT_NBYTES // divisor**2
    if place is None and MEMORY.is_dir() and _free(MEMORY) >= both:
        return MEMORY
    chosen = place or Path(tempfile.gettempdir())
    if _file_system(chosen) in _IN_MEMORY:
        return _roomy(chosen, both)
    script = _MEMORY_OF_SCRIPT_NBYTES // divisor**2
    if available_memory() < script:
        raise NoRoomError(
            f"{script / 1e9:.0f} GB of memory are needed for the script that is "
            f"compared, {available_memory() / 1e9:.1f} GB are available"
        )
    return _roomy(chosen, _FILES_OF_SOURCE * FULL_WIDTH_NBYTES // divisor**2)


def _roomy(place: Path, needed: int) -> Path:
    if not place.is_dir():
        raise NoRoomError(f"{place}: not a folder; name one with --scratch")
    free = _free(place)
    if free < needed:
        raise NoRoomError(
            f"{needed / 1e9:.0f} GB are needed, {place} has {free / 1e9:.0f} GB: name "
            "another folder with --scratch"
        )
    return place


def _file_system(folder: Path) -> str:
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8")
    return file_system(folder.resolve(), mounts)


def _free(folder: Path) -> int:
    """Return the bytes that can be written; in memory no more than it has to spare."""
    free = shutil.disk_usage(folder).free
    if _file_system(folder) in _IN_MEMORY:
        return min(free, available_memory())
    return free
