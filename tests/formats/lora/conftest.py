"""LoRA files built from arrays, and their changes read back whole."""

import json
import math
import struct

import numpy as np
import pytest

from release.formats.lora.checkpoint import open_lora_file
from release.formats.lora.places import Place
from release.formats.tensor import TensorEntry
from release.numeric.dtype import Dtype

CODES = {"f2": "F16", "f4": "F32", "f8": "F64", "i8": "I64", "u2": "BF16", "u1": "U8"}


def to_bf16(values):
    """Return BF16 bits as uint16, which `write` stores as BF16."""
    return (np.asarray(values, "<f4").view("<u4") >> 16).astype("<u2")


def to_float64(array):
    """Return what a stored array means."""
    if array.dtype == np.uint16:
        return (array.astype("<u4") << 16).view("<f4").astype(np.float64)
    return array.astype(np.float64)


STORED = {
    "F16": lambda values: np.asarray(values, "<f2"),
    "BF16": to_bf16,
    "F32": lambda values: np.asarray(values, "<f4"),
}


class Kit:
    """Writing a LoRA and asking for its changes."""

    def __init__(self, folder):
        self.path = folder / "style.safetensors"

    def write(self, tensors, metadata=None):
        header, data = {}, b""
        if metadata:
            header["__metadata__"] = metadata
        for name, array in tensors.items():
            raw = np.ascontiguousarray(array).tobytes()
            header[name] = {
                "dtype": CODES[array.dtype.str[1:]],
                "shape": list(array.shape),
                "data_offsets": [len(data), len(data) + len(raw)],
            }
            data += raw
        text = json.dumps(header).encode()
        self.path.write_bytes(struct.pack("<Q", len(text)) + text + data)
        return self.path

    def open(self, tensors, model, names=None, metadata=None):
        """Open a LoRA for a model of shapes; module "m" changes "w.weight"."""
        entries = {
            name: TensorEntry(name, Dtype.F16, shape, 0, 2 * math.prod(shape))
            for name, shape in model.items()
        }
        known = names or {
            "m.weight": (Place("w.weight"),),
            "m.bias": (Place("w.bias"),),
        }
        return open_lora_file(self.write(tensors, metadata), entries, known)

    def change(self, tensors, shape, metadata=None):
        """Return the change of "w.weight" of that shape."""
        model = {"w.weight": shape, "w.bias": shape[:1]}
        with self.open(tensors, model, metadata=metadata) as lora:
            return self.whole(lora, "w.weight")

    @staticmethod
    def whole(lora, name):
        """Return a whole tensor of an open LoRA."""
        entry = lora.tensors[name]
        assert entry.dtype is Dtype.F32
        buffer = bytearray(entry.nbytes)
        lora.read_into(entry, 0, memoryview(buffer))
        return np.frombuffer(buffer, "<f4").reshape(entry.shape)


@pytest.fixture
def kit(tmp_path):
    return Kit(tmp_path)


@pytest.fixture(params=sorted(STORED))
def stored(request):
    """A dtype of factors: a function that rounds an array to it."""
    return STORED[request.param]


@pytest.fixture
def to_values():
    return to_float64


@pytest.fixture
def draw():
    """Arrays as trained: normal, with a fixed seed."""
    return np.random.default_rng(20240501).standard_normal
