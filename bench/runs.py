"""What every run of krelease needs: its program, and the check of its result."""

import sys
from collections.abc import Sequence
from pathlib import Path

from scratch import HERE
from timing import BenchError, Sample, spawn

KRELEASE = Path(sys.executable).with_name("krelease")


def show_help() -> Sample:
    """Print the help."""
    sample = spawn([KRELEASE, "--help"])
    if "publish" not in sample.stdout:
        raise BenchError("krelease --help: does not name the commands")
    return sample


def lacks(command: str) -> str:
    """Return why a command cannot be measured: krelease has none. Else nothing."""
    said = spawn([KRELEASE, "--help"]).stdout
    names = [line.split()[0] for line in said.splitlines() if line.startswith("  ")]
    return "" if command in names else f"this krelease has no command `{command}`"


def check(
    path: Path,
    variant: str,
    sources: Sequence[str],
    *,
    recipe: str,
    tolerance: int = 0,
) -> None:
    """Compare some tensors of a result with numpy, in a child of its own.

    Args:
        path: The result.
        variant: What it is said to be.
        sources: NAME=PATH of each.
        recipe: By the name that check_tensors.py gives it.
        tolerance: In steps of the result's dtype.

    Raises:
        BenchError: The result is another.
    """
    script = HERE / "check_tensors.py"
    spawn([sys.executable, script, path, variant, str(tolerance), recipe, *sources])
