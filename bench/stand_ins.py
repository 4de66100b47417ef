"""Makes the ingredients of gamma-rev2 at reduced width; a program of its own.

Usage: stand_ins.py FOLDER DIVISOR
"""

import sys
from pathlib import Path

from release.engine.standin import make_stand_ins
from release.threads import choose_threads

folder, divisor = Path(sys.argv[1]), int(sys.argv[2])
make_stand_ins(
    {name: folder / f"{name}.safetensors" for name in sys.argv[3:]},
    divisor=divisor,
    threads=choose_threads(),
)
