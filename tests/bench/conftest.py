"""The benchmark's modules stand beside bench.py and are imported by their own names."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "bench"))

from measures import Bench
from scratch import Material


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """One run of everything in an empty folder, and no peers."""
    return Bench(Material(tmp_path, 32), {}, rounds=1, warm_ups=0, note=lambda _: None)
