"""What ComfyUI, Forge and AUTOMATIC1111 would take our files for, and read from them.

None of them can be installed as a library, so the few rules that decide are said again
here, over safetensors.safe_open alone. Behaviour was compared with these sources:

* ComfyUI: `convert_old_quants`, `detect_layer_quantization` and `weight_dtype` in
  comfy/utils.py (09708ea), `_load_quantized_module` in comfy/ops.py, `QUANT_ALGOS` in
  comfy/quant_ops.py (0271a46).
* Forge: `state_dict_dtype` in backend/memory_management.py, backend/loader.py
  (dfdcbab).
* AUTOMATIC1111: pull request 14031, which computes in float16 whatever is stored.
"""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch

Convert = Callable[..., dict[str, Path]]
Tensors = dict[str, torch.Tensor]

UNET = "model.diffusion_model."
E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2
SCALED_FORMATS = {"float8_e4m3fn": E4M3, "float8_e5m2": E5M2}
QUANTIZATION = "_quantization_metadata"
AUXILIARY = (".weight_scale", ".input_scale", ".comfy_quant", ".scale_weight")

N_LINEAR = 743


@dataclass
class Model:
    """A U-Net after loading.

    `dtype` is that of the weights as they stay in memory, None if the modules choose
    one by one; `values` has what is computed with; `entries` the module -> its
    quantization entry; `left_over` what no module asked for.
    """

    dtype: torch.dtype | None
    values: Tensors
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_over: set[str] = field(default_factory=set)


def read(path: Path) -> tuple[Tensors, dict[str, str]]:
    with safetensors.safe_open(path, "pt") as file:
        names = file.keys()
        return {name: file.get_tensor(name) for name in names}, file.metadata()


def unet_of(tensors: Tensors) -> Tensors:
    return {name: t for name, t in tensors.items() if name.startswith(UNET)}


def decode(entry: torch.Tensor) -> dict[str, Any]:
    assert entry.dtype is torch.uint8
    assert entry.dim() == 1
    return json.loads(entry.numpy().tobytes())


def entries_of(tensors: Tensors, metadata: dict[str, str]) -> dict[str, dict]:
    """ComfyUI: entries of the header replace those that are tensors."""
    entries = {
        name.removesuffix(".comfy_quant"): decode(tensor)
        for name, tensor in tensors.items()
        if name.endswith(".comfy_quant")
    }
    if QUANTIZATION in metadata:
        entries |= json.loads(metadata[QUANTIZATION])["layers"]
    return entries


def comfyui(tensors: Tensors, metadata: dict[str, str]) -> Model:
    """ComfyUI: entries make modules read their scales; else the most elements win.

    Only Linear modules look for entries; whatever they do not ask for is left over.
    """
    unet = unet_of(tensors)
    entries = {
        module: entry
        for module, entry in entries_of(tensors, metadata).items()
        if module.startswith(UNET)
    }
    if not entries:
        elements: Counter[torch.dtype] = Counter()
        for tensor in unet.values():
            elements[tensor.dtype] += tensor.numel()
        left_over = {name for name in unet if name.endswith(AUXILIARY)}
        values = {name: t.float() for name, t in unet.items() if name not in left_over}
        return Model(max(elements, key=elements.__getitem__), values, {}, left_over)
    used, values = set(), {}
    for module, entry in entries.items():
        names = [f"{module}.{kind}" for kind in ("weight", "weight_scale")]
        if names[0] in unet and unet[names[0]].dim() == 2:
            weight, scale = (unet[name] for name in names)
            stored = SCALED_FORMATS[entry["format"]]
            assert weight.dtype is stored
            assert (scale.dtype, scale.shape) == (torch.float32, ())
            values[names[0]] = weight.float() * scale
            used |= {*names, f"{module}.comfy_quant"}
    rest = {name: tensor.float() for name, tensor in unet.items() if name not in used}
    left_over = {name for name in rest if name.endswith(AUXILIARY)}
    values |= {name: value for name, value in rest.items() if name not in left_over}
    return Model(None, values, entries, left_over)


def forge(tensors: Tensors) -> torch.dtype:
    """Forge: the dtype of the most tensors; the first of equals."""
    counts = Counter(tensor.dtype for tensor in unet_of(tensors).values())
    return max(counts, key=counts.__getitem__)


def a1111(tensors: Tensors) -> Tensors:
    """AUTOMATIC1111: every value in float16, whatever its dtype in the file."""
    return {name: tensor.half() for name, tensor in tensors.items()}


@pytest.fixture(scope="module")
def source(narrow: Path) -> Tensors:
    return unet_of(read(narrow)[0])


@pytest.fixture
def scaled(converted: dict[str, Path]) -> tuple[Tensors, dict[str, str]]:
    """A scaled file's tensors and metadata, to be changed at will."""
    return read(converted["fp8-scaled"])


def within(values: torch.Tensor, exact: torch.Tensor, least: float) -> bool:
    """Whether fp8 e4m3 could not be nearer: half a step, `least` the smallest one."""
    half_a_step = (exact.float().abs() / 16).clamp(min=least / 2)
    return bool(((values.float() - exact.float()).abs() <= half_a_step).all())


@pytest.mark.parametrize(
    ("preset", "dtype"),
    [("fp8", E4M3), ("fp8-e5m2", E5M2), ("fp16", torch.float16)],
)
def test_comfyui_and_forge_take_a_plain_file_for_what_it_is(
    preset: str, dtype: torch.dtype, converted: dict[str, Path]
) -> None:
    tensors, metadata = read(converted[preset])

    model = comfyui(tensors, metadata)

    assert model.dtype is dtype
    assert model.left_over == set()
    assert forge(tensors) is dtype


def test_forge_counts_enough_tensors_of_plain_fp8_only_with_the_biases(
    converted: dict[str, Path],
) -> None:
    tensors, _ = read(converted["fp8"])
    fp8 = [name for name, t in unet_of(tensors).items() if t.dtype is E4M3]

    without_biases = tensors | {
        name: tensors[name].half() for name in fp8 if name.endswith(".bias")
    }

    assert len(fp8) == 1168
    assert len(unet_of(tensors)) == 1680
    assert forge(without_biases) is torch.float16


def test_every_program_reads_plain_fp8_as_the_nearest_values(
    converted: dict[str, Path], source: Tensors
) -> None:
    tensors, metadata = read(converted["fp8"])

    values = comfyui(tensors, metadata).values
    halves = a1111(tensors)

    assert values.keys() == source.keys()
    for name, exact in source.items():
        assert within(values[name], exact, 2.0**-9)
        assert torch.equal(halves[name].float(), values[name])


@pytest.mark.parametrize("preset", ["fp8", "fp8-e5m2", "fp8-scaled"])
def test_text_encoders_and_vae_need_no_program_that_knows_fp8(
    preset: str, converted: dict[str, Path]
) -> None:
    tensors, metadata = read(converted[preset])
    others = {name: t for name, t in tensors.items() if not name.startswith(UNET)}

    assert {t.dtype for t in others.values()} == {torch.float16, torch.int64}
    assert not any(name.endswith(AUXILIARY) for name in others)
    assert all(name.startswith(UNET) for name in entries_of(tensors, metadata))


def test_comfyui_reads_scaled_fp8_as_the_values_intended(
    scaled: tuple[Tensors, dict[str, str]], source: Tensors
) -> None:
    tensors, _ = scaled

    model = comfyui(*scaled)

    assert model.dtype is None
    assert model.left_over == set()
    assert model.values.keys() == source.keys()
    assert len(model.entries) == N_LINEAR
    for name, exact in source.items():
        module = name.removesuffix(".weight")
        if module in model.entries:
            scale = float(tensors[f"{module}.weight_scale"])
            assert within(model.values[name], exact, scale * 2.0**-9)
            assert float(exact.abs().max()) == pytest.approx(448 * scale)
        else:
            assert torch.equal(model.values[name], exact.float())


def test_scaled_modules_are_linear_and_compute_in_full_precision(
    scaled: tuple[Tensors, dict[str, str]],
) -> None:
    tensors, metadata = scaled

    entries = entries_of(tensors, metadata)

    assert all(tensors[f"{module}.weight"].dim() == 2 for module in entries)
    assert all(
        entry == {"format": "float8_e4m3fn", "full_precision_matrix_mult": True}
        for entry in entries.values()
    )
    fp8 = {name for name, t in tensors.items() if t.dtype is E4M3}
    assert fp8 == {f"{module}.weight" for module in entries}


def test_programs_that_read_only_the_header_or_only_the_tensors_see_the_same(
    scaled: tuple[Tensors, dict[str, str]],
) -> None:
    tensors, metadata = scaled
    bare = {n: t for n, t in tensors.items() if not n.endswith(".comfy_quant")}
    without = {key: text for key, text in metadata.items() if key != QUANTIZATION}

    by_header, by_tensors = entries_of(bare, metadata), entries_of(tensors, without)

    assert by_header == by_tensors
    assert comfyui(bare, metadata).left_over == set()
    assert comfyui(tensors, without).left_over == set()


def test_older_comfyui_finds_nothing_to_migrate(
    scaled: tuple[Tensors, dict[str, str]],
) -> None:
    tensors, metadata = scaled

    assert json.loads(metadata[QUANTIZATION])["format_version"] == "1.0"
    assert not any("scaled_fp8" in name for name in tensors)
    assert not any(name.endswith((".scale_weight", ".scale_input")) for name in tensors)


def test_scales_without_entries_would_be_noticed(
    scaled: tuple[Tensors, dict[str, str]], source: Tensors
) -> None:
    tensors, _ = scaled
    bare = {n: t for n, t in tensors.items() if not n.endswith(".comfy_quant")}

    model = comfyui(bare, {})

    assert len(model.left_over) == N_LINEAR
    name = f"{UNET}time_embed.0.weight"
    assert not within(model.values[name], source[name], 2.0**-9)


def test_a_scaled_file_made_plain_leaves_no_scale_behind(
    convert: Convert, converted: dict[str, Path], tmp_path: Path
) -> None:
    plain = convert(
        converted["fp8-scaled"], "fp16", "fp32", "bf16", "fp8", out=tmp_path
    )

    for path in plain.values():
        tensors, metadata = read(path)
        assert not any(name.endswith(AUXILIARY) for name in tensors)
        assert QUANTIZATION not in metadata
        assert comfyui(tensors, metadata).dtype is forge(tensors)
