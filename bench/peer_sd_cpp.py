"""stable-diffusion.cpp's conversion to fp16; runs in its own environment.

Usage: peer_sd_cpp.py SOURCE OUTPUT
"""

import sys

from stable_diffusion_cpp import (  # type: ignore[import-not-found]
    StableDiffusion,
)

source, output = sys.argv[1:]
done = StableDiffusion(verbose=False).convert(
    input_path=source, output_path=output, output_type="f16", convert_name=False
)
sys.exit(0 if done else f"{source}: not converted")
