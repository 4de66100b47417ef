"""The benchmark's modules stand beside bench.py and are imported by their own names."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "bench"))
