"""Small fp8 checkpoints in every layout, and the values they stand for.

Nothing here uses the code under test: files are written byte by byte, fp8 is decoded by
a table made from its bit layout, and scales are spread by numpy's own broadcasting.
Load it through a fixture; it is no test module.
"""

import json
import struct
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

FULL_PRECISION = {"format": "float8_e4m3fn", "full_precision_matrix_mult": True}
UNET = "model.diffusion_model."


@dataclass(frozen=True)
class Raw:
    """A tensor as it is written: dtype code, shape, bytes."""

    code: str
    shape: tuple[int, ...]
    data: bytes


@dataclass(frozen=True)
class Sample:
    """A checkpoint and what a reader should make of it.

    `expected` has the float32 value of every fp8 weight; `auxiliary` the tensors that
    are no weights; `assumed` whether reading it takes --assume-scaled.
    """

    layout: str
    tensors: dict[str, Raw]
    expected: dict[str, np.ndarray]
    auxiliary: set[str] = field(default_factory=set)
    metadata: dict[str, str] = field(default_factory=dict)
    config: dict | None = None
    assumed: bool = False

    def write(self, folder: Path) -> Path:
        """Write model.safetensors, and config.json if there is one."""
        path = folder / "model.safetensors"
        path.write_bytes(file_bytes(self.tensors, self.metadata))
        if self.config is not None:
            (folder / "config.json").write_text(json.dumps(self.config))
        return path

    def with_tensors(self, **changes: Raw | None) -> "Sample":
        """Return a copy with tensors replaced or added, or removed where None.

        "__" in a keyword stands for "." in the name.
        """
        tensors = dict(self.tensors)
        for key, raw in changes.items():
            name = key.replace("__", ".")
            if raw is None:
                del tensors[name]
            else:
                tensors[name] = raw
        return replace(self, tensors=tensors)


def file_bytes(tensors: dict[str, Raw], metadata: dict[str, str]) -> bytes:
    """Return a safetensors file."""
    header: dict = {"__metadata__": metadata} if metadata else {}
    begin = 0
    for name, raw in tensors.items():
        end = begin + len(raw.data)
        header[name] = {
            "dtype": raw.code,
            "shape": raw.shape,
            "data_offsets": [begin, end],
        }
        begin = end
    text = json.dumps(header).encode()
    data = b"".join(raw.data for raw in tensors.values())
    return struct.pack("<Q", len(text)) + text + data


def decoded(code: str) -> np.ndarray:
    """Return the float32 value of every byte of F8_E4M3 or F8_E5M2."""
    exponent_bits, bias = {"F8_E4M3": (4, 7), "F8_E5M2": (5, 15)}[code]
    mantissa_bits = 7 - exponent_bits
    values = np.empty(256)
    for byte in range(256):
        exponent = byte >> mantissa_bits & ((1 << exponent_bits) - 1)
        fraction = (byte & ((1 << mantissa_bits) - 1)) / (1 << mantissa_bits)
        if exponent:
            magnitude = (1 + fraction) * 2.0 ** (exponent - bias)
        else:
            magnitude = fraction * 2.0 ** (1 - bias)
        if code == "F8_E4M3" and byte & 0x7F == 0x7F:
            magnitude = np.nan
        if code == "F8_E5M2" and exponent == 31:
            magnitude = np.nan if fraction else np.inf
        values[byte] = -magnitude if byte & 0x80 else magnitude
    return values.astype(np.float32)


def fp8(seed: int, *shape: int, code: str = "F8_E4M3") -> Raw:
    """Return random finite fp8 values."""
    finite = np.flatnonzero(np.isfinite(decoded(code))).astype(np.uint8)
    rng = np.random.default_rng(seed)
    return Raw(code, shape, rng.choice(finite, size=shape).tobytes())


def scales(seed: int, *shape: int, code: str = "F32") -> Raw:
    """Return random positive scales between 2^-12 and 2^-4."""
    rng = np.random.default_rng(1000 + seed)
    return scale_of(np.exp2(rng.uniform(-12, -4, shape)), code=code)


def scale_of(values: object, code: str = "F32") -> Raw:
    """Return these values, cut to 8 bits of mantissa where the code is BF16."""
    array = np.asarray(values, np.float32)
    match code:
        case "F32":
            data = array.astype("<f4").tobytes()
        case "F16":
            data = array.astype("<f2").tobytes()
        case _:
            data = (array.view(np.uint32) >> 16).astype("<u2").tobytes()
    return Raw(code, array.shape, data)


def values_of(raw: Raw) -> np.ndarray:
    """Return the float32 values of a tensor, in its shape."""
    match raw.code:
        case "F32":
            flat = np.frombuffer(raw.data, "<f4")
        case "F16":
            flat = np.frombuffer(raw.data, "<f2").astype(np.float32)
        case "BF16":
            flat = (np.frombuffer(raw.data, "<u2").astype(np.uint32) << 16).view("<f4")
        case _:
            flat = decoded(raw.code)[np.frombuffer(raw.data, np.uint8)]
    return flat.reshape(raw.shape)


def product(weight: Raw, scale: Raw, block: tuple[int, int] = (1, 1)) -> np.ndarray:
    """Return float32(q) * float32(scale), the scale spread over the weight.

    A grid's values are repeated `block` times in each direction and cut to the weight;
    (out, n, 1) multiplies n groups within each row.
    """
    q, s = values_of(weight), values_of(scale)
    out = q.shape[0]
    matrix = q.reshape(out, -1)
    if s.size == 1:
        spread = s.reshape(1, 1)
    elif s.ndim == 3 and q.ndim == 2:
        groups = matrix.reshape(out, s.shape[1], -1)
        return (groups * s).reshape(q.shape)
    elif s.size == out and block == (1, 1):
        spread = s.reshape(out, 1)
    else:
        spread = np.kron(s, np.ones(block, np.float32))[:out, : matrix.shape[1]]
    return (matrix * spread).reshape(q.shape)


def text(document: object) -> Raw:
    """Return JSON as a U8 tensor."""
    data = json.dumps(document).encode()
    return Raw("U8", (len(data),), data)


def half(*shape: int) -> Raw:
    """Return an F16 tensor that is no fp8 weight."""
    return Raw(
        "F16", shape, np.linspace(-1, 1, int(np.prod(shape)), dtype="<f2").tobytes()
    )


def plain() -> Sample:
    """No fp8."""
    return Sample("plain", {f"{UNET}out.weight": half(4, 6), "ids": half(3)}, {})


def plain_fp8() -> Sample:
    """Values cast one by one, in both fp8 dtypes."""
    weights = {
        f"{UNET}a.weight": fp8(1, 12, 20),
        f"{UNET}a.bias": fp8(2, 12),
        f"{UNET}conv.weight": fp8(3, 5, 4, 3, 3),
        f"{UNET}b.weight": fp8(4, 7, 9, code="F8_E5M2"),
    }
    expected = {name: values_of(raw) for name, raw in weights.items()}
    return Sample("plain-fp8", {**weights, f"{UNET}norm.weight": half(12)}, expected)


def comfy_legacy() -> Sample:
    """A marker for the U-Net; one input scale; a VAE beside it."""
    a, b = fp8(5, 12, 20), fp8(6, 8, 16)
    scale_a, scale_b = scales(5), scales(6)
    return Sample(
        "comfy-scaled-legacy",
        {
            f"{UNET}scaled_fp8": Raw("F8_E4M3", (2,), b"\0\0"),
            f"{UNET}a.weight": a,
            f"{UNET}a.scale_weight": scale_a,
            f"{UNET}a.scale_input": scale_of(1.0),
            f"{UNET}b.weight": b,
            f"{UNET}b.scale_weight": scale_b,
            "first_stage_model.conv.weight": half(3, 4),
        },
        {
            f"{UNET}a.weight": product(a, scale_a),
            f"{UNET}b.weight": product(b, scale_b),
        },
        auxiliary={
            f"{UNET}scaled_fp8",
            f"{UNET}a.scale_weight",
            f"{UNET}a.scale_input",
            f"{UNET}b.scale_weight",
        },
    )


def comfy_current() -> Sample:
    """Tensors and header: e4m3, e5m2, and e4m3 stored as U8."""
    a, b, c = fp8(7, 12, 20), fp8(8, 8, 16, code="F8_E5M2"), fp8(9, 6, 10)
    scale_a, scale_b, scale_c = scales(7), scales(8), scales(9, 1)
    e5m2 = {"format": "float8_e5m2"}
    layers = {f"{UNET}a": FULL_PRECISION, f"{UNET}b": e5m2, f"{UNET}c": FULL_PRECISION}
    tensors = {
        f"{UNET}a.weight": a,
        f"{UNET}a.weight_scale": scale_a,
        f"{UNET}a.input_scale": scale_of(0.5),
        f"{UNET}b.weight": b,
        f"{UNET}b.weight_scale": scale_b,
        f"{UNET}c.weight": replace(c, code="U8"),
        f"{UNET}c.weight_scale": scale_c,
        f"{UNET}c.bias": half(6),
    }
    entries = {f"{name}.comfy_quant": text(entry) for name, entry in layers.items()}
    metadata = {"format_version": "1.0", "layers": layers}
    return Sample(
        "comfy-scaled",
        {**tensors, **entries},
        {
            f"{UNET}a.weight": product(a, scale_a),
            f"{UNET}b.weight": product(b, scale_b),
            f"{UNET}c.weight": product(c, scale_c),
        },
        auxiliary={*entries, *(name for name in tensors if "_scale" in name)},
        metadata={"_quantization_metadata": json.dumps(metadata)},
    )


def comfy_header() -> Sample:
    """The entry in the header only."""
    a, scale = fp8(10, 12, 20), scales(10)
    layers = {f"{UNET}a": {"format": "float8_e4m3fn"}}
    return Sample(
        "comfy-scaled",
        {f"{UNET}a.weight": a, f"{UNET}a.weight_scale": scale},
        {f"{UNET}a.weight": product(a, scale)},
        auxiliary={f"{UNET}a.weight_scale"},
        metadata={
            "_quantization_metadata": json.dumps(
                {"format_version": "1.0", "layers": layers}
            )
        },
    )


def _with_entries(
    layout: str, weights: dict[str, tuple[Raw, Raw, dict, tuple[int, int]]]
) -> Sample:
    tensors: dict[str, Raw] = {}
    auxiliary: set[str] = set()
    for name, (weight, scale, entry, _) in weights.items():
        beside = {f"{name}.weight_scale": scale, f"{name}.comfy_quant": text(entry)}
        tensors |= {f"{name}.weight": weight, **beside}
        auxiliary |= beside.keys()
    expected = {
        f"{name}.weight": product(weight, scale, block)
        for name, (weight, scale, _, block) in weights.items()
    }
    return Sample(layout, tensors, expected, auxiliary)


def rowwise() -> Sample:
    """One scale per row in (out,) and (out, 1), beside one scale for a weight."""
    entry = {"format": "float8_e4m3fn_rowwise"}
    return _with_entries(
        "rowwise",
        {
            "a": (fp8(11, 12, 20), scales(11, 12), entry, (1, 1)),
            "b": (fp8(12, 9, 9), scales(12, 9, 1), entry, (1, 1)),
            "c": (fp8(13, 5, 7), scales(13), {"format": "float8_e4m3fn"}, (1, 1)),
        },
    )


def blockwise() -> Sample:
    """Square blocks whose size is named at the top, under params, or nowhere."""
    entry = {"format": "float8_e4m3fn_blockwise"}
    named, older = entry | {"group_size": 32}, entry | {"params": {"group_size": 16}}
    return _with_entries(
        "blockwise",
        {
            "a": (fp8(14, 64, 96), scales(14, 2, 3), named, (32, 32)),
            "b": (fp8(15, 48, 32), scales(15, 3, 2), older, (16, 16)),
            "c": (fp8(16, 128, 64), scales(16, 2, 1), entry, (64, 64)),
        },
    )


def kohya() -> Sample:
    """No marker: a scalar, one per row, and blocks of 64 within rows, in 16 bits."""
    a, b, c = fp8(17, 12, 20), fp8(18, 9, 9), fp8(19, 6, 192)
    sa, sb = scales(17, 1, code="BF16"), scales(18, 9, 1, code="F16")
    sc = scales(19, 6, 3, 1, code="BF16")
    return Sample(
        "kohya-scaled",
        {
            "a.weight": a,
            "a.scale_weight": sa,
            "b.weight": b,
            "b.scale_weight": sb,
            "c.weight": c,
            "c.scale_weight": sc,
        },
        {
            "a.weight": product(a, sa),
            "b.weight": product(b, sb),
            "c.weight": product(c, sc),
        },
        auxiliary={"a.scale_weight", "b.scale_weight", "c.scale_weight"},
        assumed=True,
    )


def compressed_tensors() -> Sample:
    """Explained by config.json: one scale, one per row, blocks with a remainder."""
    a, b, c = fp8(20, 12, 20), fp8(21, 9, 9), fp8(22, 130, 200)
    sa, sb = scales(20, 1, code="BF16"), scales(21, 9, 1, code="BF16")
    sc = scales(22, 2, 2, code="BF16")
    return Sample(
        "compressed-tensors",
        {
            "a.weight": a,
            "a.weight_scale": sa,
            "a.input_scale": scale_of([0.5], "BF16"),
            "b.weight": b,
            "b.weight_scale": sb,
            "c.weight": c,
            "c.weight_scale": sc,
            "norm.weight": half(12),
        },
        {
            "a.weight": product(a, sa),
            "b.weight": product(b, sb),
            "c.weight": product(c, sc, (128, 128)),
        },
        auxiliary={
            "a.weight_scale",
            "a.input_scale",
            "b.weight_scale",
            "c.weight_scale",
        },
        config={
            "quantization_config": {
                "quant_method": "compressed-tensors",
                "format": "float-quantized",
            }
        },
    )


def deepseek() -> Sample:
    """Blocks of 128 with a remainder in both directions."""
    a, scale = fp8(23, 200, 300), scales(23, 2, 3)
    return Sample(
        "deepseek",
        {"a.weight": a, "a.weight_scale_inv": scale, "norm.weight": half(12)},
        {"a.weight": product(a, scale, (128, 128))},
        auxiliary={"a.weight_scale_inv"},
        config={
            "quantization_config": {
                "quant_method": "fp8",
                "weight_block_size": [128, 128],
            }
        },
    )


SAMPLES = {
    "plain": plain,
    "plain-fp8": plain_fp8,
    "comfy-legacy": comfy_legacy,
    "comfy-current": comfy_current,
    "comfy-header": comfy_header,
    "rowwise": rowwise,
    "blockwise": blockwise,
    "kohya": kohya,
    "compressed-tensors": compressed_tensors,
    "deepseek": deepseek,
}
"""Builders by name; every call builds the same sample."""
