"""What merges should give: float64 formulas of whole tensors, in numpy alone.

Nothing here uses the code under test. Load it through the fixture `formulas`.
"""

import math
from hashlib import sha256  # noqa: TID251  # an oracle that is not our code
from pathlib import Path

import numpy as np
import safetensors

# The model page's list, in the order base, input blocks, middle, output blocks.
BLOCKS = ["BASE", *(f"IN{n}" for n in range(9)), "M", *(f"OUT{n}" for n in range(9))]
LIST = "0,0.1,0.1,0,0.1,0.1,0,0.1,0.1,0,0,0,0,0,0.05,0.05,0.05,0.05,0.05,0.05"
# Weight of rev2's last step -> coefficients.
REV2 = {
    "0": {"anxl2": -1.0, "anxl3": 1.0, "base8": 0.25, "beta7": 0.75},
    "0.1": {"anxl2": -0.9, "anxl3": 1.0, "base8": 0.225, "beta7": 0.675},
    "0.05": {"anxl2": -0.95, "anxl3": 1.0, "base8": 0.2375, "beta7": 0.7125},
}
REV1 = {"anxl2": -0.8, "anxl3": 0.8, "base7": 0.5, "beta7": 0.5}
COPIED = ("position_ids", "logit_scale")
NUMPY = {"F16": np.float16, "F32": np.float32, "I64": np.int64, "U8": np.uint8}


def block_of(name):
    """Tell SuperMerger's block from the parts of a name."""
    top, second, *rest = name.split(".")
    if top in {"conditioner", "first_stage_model"}:
        return "BASE"
    assert (top, second) == ("model", "diffusion_model")
    numbered = {"input_blocks": "IN", "output_blocks": "OUT"}
    if rest[0] in numbered:
        return f"{numbered[rest[0]]}{rest[1]}"
    return {"time_embed": "IN0", "label_emb": "IN0", "out": "OUT8"}.get(rest[0], "M")


def weight_of(name):
    """Return what the list says of a tensor; SuperMerger merges no in_proj."""
    is_merged = "weight" in name or "bias" in name
    at = BLOCKS.index(block_of(name))
    return LIST.split(",")[at] if is_merged else "0"


def rev2_row(name):
    return REV2[weight_of(name)]


def rev1_row(_name):
    return REV1


def read(path):
    """Return name -> (dtype code, shape, raw bytes), by the safetensors library."""
    found = safetensors.deserialize(Path(path).read_bytes())
    return {
        name: (tensor["dtype"], tuple(tensor["shape"]), bytes(tensor["data"]))
        for name, tensor in found
    }


def decoded_fp8():
    """Return what every e4m3fn byte means, in float32, from its bit layout."""
    values = np.empty(256, np.float32)
    for byte in range(256):
        exponent, fraction = byte >> 3 & 15, (byte & 7) / 8
        scale = 2.0 ** (max(exponent, 1) - 7)
        magnitude = (fraction + (1 if exponent else 0)) * scale
        values[byte] = -magnitude if byte & 128 else magnitude
    values[[127, 255]] = np.nan
    return values


FP8 = decoded_fp8()


def fp8_codes(values):
    """Round to e4m3fn: to nearest, ties to even, clamped to 448."""
    table = FP8[:127].astype(np.float64)
    middles = (table[1:] + table[:-1]) / 2
    magnitude = np.abs(values)
    below = np.searchsorted(middles, magnitude, side="left")
    above = np.searchsorted(middles, magnitude, side="right")
    code = np.where((below != above) & (below % 2 == 1), above, below)
    return (code + 128 * np.signbit(values)).astype(np.uint8)


def float64(raw):
    """Return the values of a tensor as `read` gives it, in its shape."""
    dtype, shape, data = raw
    if dtype == "BF16":
        wide = np.frombuffer(data, np.uint16).astype(np.uint32) << 16
        flat = wide.view(np.float32)
    elif dtype == "F8_E4M3":
        flat = FP8[np.frombuffer(data, np.uint8)]
    else:
        flat = np.frombuffer(data, NUMPY[dtype])
    return flat.astype(np.float64).reshape(shape)


def values(path):
    """Return name -> float64 values of a file."""
    return {name: float64(raw) for name, raw in read(path).items()}


def rounded(dtype, result):
    """Return the bytes of float64 values rounded once."""
    if dtype == "F8_E4M3":
        return fp8_codes(result).tobytes()
    return result.astype(NUMPY[dtype]).tobytes()


def total(sources, name, row):
    """Return the sum of a row, each product and each sum an operation of its own."""
    terms = [row[each] * sources[each][name] for each in sorted(row)]
    found = terms[0]
    for term in terms[1:]:
        found = found + term
    return found


def differing(path, sources, row_of, *, copied_from):
    """Return the names of tensors that are not what numpy makes of the formula."""
    wrong = []
    for name, (dtype, shape, data) in read(path).items():
        if name.endswith(COPIED):
            expected = sources[copied_from][name]
            assert expected.shape == shape
            if not np.array_equal(float64((dtype, shape, data)), expected):
                wrong.append(name)
        elif data != rounded(dtype, total(sources, name, row_of(name))):
            wrong.append(name)
    return wrong


def slerp(a, b, t):
    """Return the point on the arc, its length on the line between the lengths."""
    length_a, length_b = np.linalg.norm(a), np.linalg.norm(b)
    unit_a, unit_b = a / length_a, b / length_b
    # Kahan's angle between two unit vectors, sound at every angle.
    angle = 2 * math.atan2(
        np.linalg.norm(unit_a - unit_b), np.linalg.norm(unit_a + unit_b)
    )
    arc = np.sin((1 - t) * angle) * unit_a + np.sin(t * angle) * unit_b
    return arc / np.sin(angle) * ((1 - t) * length_a + t * length_b)


def add_cosine(a, b, alpha):
    """Return k a + (1 - k) b, k from the cosine of every column over dim 0."""
    first, second = (x.reshape(x.shape[0], -1) for x in (a, b))
    lengths = np.linalg.norm(first, axis=0) * np.linalg.norm(second, axis=0)
    dots = np.einsum("ij,ij->j", first, second)
    cosine = np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths != 0)
    k = np.clip(cosine - alpha, 0, 1)
    return (k * first + (1 - k) * second).reshape(a.shape)


def _fold(words, shift):
    return words ^ (words >> np.uint64(shift))


def kept(seed, name, density, count):
    """Return what SplitMix64, keyed by the seed and the name, lets dare keep."""
    key = int(sha256(f"{seed}\0{name}".encode()).hexdigest()[:16], 16)
    states = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    words = states + np.uint64(key)
    words = _fold(words, 30) * np.uint64(0xBF58476D1CE4E5B9)
    words = _fold(words, 27) * np.uint64(0x94D049BB133111EB)
    words = _fold(words, 31)
    return (words >> np.uint64(11)) < np.uint64(math.ceil(density * 2**53))


def dare(base, other, density, seed, name):
    """Return the base with a random part of the difference, enlarged."""
    mask = kept(seed, name, density, base.size).reshape(base.shape)
    return np.where(mask, base + (other - base) / density, base)


def _trimmed(delta, density):
    flat = delta.reshape(-1)
    n_kept = max(1, int(density * flat.size))
    order = np.lexsort((np.arange(flat.size), -np.abs(flat)))
    found = np.zeros_like(flat)
    found[order[:n_kept]] = flat[order[:n_kept]]
    return found.reshape(delta.shape)


def ties(base, *others, density):
    """Return the mean of the largest differences that agree in sign, added."""
    deltas = np.array([_trimmed(other - base, density) for other in others])
    elected = np.sign(deltas.sum(axis=0))
    agrees = (np.sign(deltas) == elected) & (elected != 0)
    count = np.maximum(agrees.sum(axis=0), 1)
    return base + (deltas * agrees).sum(axis=0) / count
