"""Makes checkpoints of random values in SDXL's form; a program of its own.

Usage: stand_ins.py FOLDER DIVISOR DTYPE NAME ...; DIVISOR 1 is full width.
"""

import sys
from pathlib import Path

from release.engine.standin import make_stand_ins
from release.numeric.dtype import BY_CODE
from release.threads import choose_threads

folder, divisor, dtype, *names = sys.argv[1:]
make_stand_ins(
    {name: Path(folder) / f"{name}.safetensors" for name in names},
    divisor=int(divisor),
    dtype=BY_CODE[dtype],
    threads=choose_threads(),
)
