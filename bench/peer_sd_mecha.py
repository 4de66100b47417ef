"""sd-mecha's merge of gamma rev2 with its defaults; runs in sd-mecha's environment.

Usage: peer_sd_mecha.py FOLDER OUTPUT
"""

import sys
from pathlib import Path

import sd_mecha  # type: ignore[import-not-found]

WEIGHTS = {
    "BASE": 0.0,
    "M00": 0.0,
    "VAE": 0.0,
    **dict(zip((f"IN{at:02}" for at in range(9)), [0.1, 0.1, 0.0] * 3, strict=True)),
    **{f"OUT{at:02}": 0.0 if at < 3 else 0.05 for at in range(9)},
}

folder, output = map(Path, sys.argv[1:])
beta7, anxl3, anxl2, base8 = (
    sd_mecha.model(folder / f"{name}.safetensors")
    for name in ("beta7", "anxl3", "anxl2", "base8")
)
gamma = beta7 + (anxl3 - anxl2) + (base8 - beta7) * 0.25
blocks = sd_mecha.literal(WEIGHTS, config="sdxl-supermerger_blocks")
rev2 = sd_mecha.weighted_sum(gamma, anxl3, sd_mecha.convert(blocks, "sdxl-sgm"))
sd_mecha.merge(rev2, output=output)
