"""The usual way to make an fp8 checkpoint, and back: load all, cast, save.

Usage: peer_convert.py SOURCE OUTPUT DTYPE NAMES, where NAMES is a file with a JSON list
of the tensors that are cast to torch's DTYPE; the others stay as they are.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

source, output, dtype, names = sys.argv[1:]
tensors = load_file(source)
for name in json.loads(Path(names).read_text()):
    tensors[name] = tensors[name].to(getattr(torch, dtype))
save_file(tensors, output, metadata={"format": "pt"})
