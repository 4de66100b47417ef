"""The usual way to make an fp8 checkpoint: load all, cast, save.

Usage: peer_convert.py SOURCE OUTPUT NAMES, where NAMES is a JSON list of the tensors
that are cast; the others stay as they are.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

source, output, names = sys.argv[1:]
tensors = load_file(source)
for name in json.loads(Path(names).read_text()):
    tensors[name] = tensors[name].to(torch.float8_e4m3fn)
save_file(tensors, output, metadata={"format": "pt"})
