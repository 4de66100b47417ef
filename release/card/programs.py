"""Card section about programs: how to get a file, and make the first image with it."""

import json
from typing import Final

from release.card.environment import Plain
from release.card.files import (
    full_precision,
    in_published_order,
    is_scaled,
    stored_fp8,
)
from release.card.usage import middle_cfg
from release.definition import Definition
from release.errors import visible
from release.manifest import CheckpointRecord, Manifest

_TORCH_DTYPES: Final = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_COMFY_OPTIONS: Final = {
    "F8_E4M3": "--fp8_e4m3fn-unet",
    "F8_E5M2": "--fp8_e5m2-unet",
}
_FP8_DTYPES: Final = {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}


def programs_section(definition: Definition, manifest: Manifest) -> dict[str, Plain]:
    """Return what readers copy, for each program.

    The files it names are the full-precision one and the first stored in fp8.
    """
    checkpoints = in_published_order(definition, manifest)
    full = full_precision(checkpoints)
    reduced = next((each for each in checkpoints if stored_fp8(each)), None)
    release = definition.release
    return {
        "download": f"hf download {release.repo} {full.name} --revision {release.tag}"
        " --local-dir .",
        "full": full.name,
        "reduced": reduced.name if reduced else "",
        "comfy_option": _COMFY_OPTIONS[stored_fp8(reduced)[0]] if reduced else "",
        "reduced_scaled": bool(reduced and is_scaled(reduced)),
        "diffusers": _diffusers(definition, full),
        "layerwise": _layerwise(full, reduced) if reduced else "",
    }


def _diffusers(definition: Definition, full: CheckpointRecord) -> str:
    """Return a Python program; every foreign text in it is a string literal."""
    release, usage = definition.release, definition.usage
    url = f"https://huggingface.co/{release.repo}/blob/{release.tag}/{full.name}"
    lines = [
        "import torch",
        "from diffusers import StableDiffusionXLPipeline",
        "",
        "pipe = StableDiffusionXLPipeline.from_single_file(",
        f"    {_literal(url)},",
        f"    torch_dtype=torch.{_torch_dtype(full)},",
        ').to("cuda")',
        "image = pipe(",
        f"    {_literal(usage.example_prompt)},",
        *(
            [f"    negative_prompt={_literal(usage.example_negative_prompt)},"]
            if usage.example_negative_prompt
            else []
        ),
        f"    guidance_scale={middle_cfg(usage)},",
        "    width=1024,",
        "    height=1024,",
        ").images[0]",
        'image.save("image.png")',
    ]
    return "\n".join(lines)


def _layerwise(full: CheckpointRecord, reduced: CheckpointRecord) -> str:
    lines = [
        "pipe.unet.enable_layerwise_casting(",
        f"    storage_dtype=torch.{_FP8_DTYPES[stored_fp8(reduced)[0]]},",
        f"    compute_dtype=torch.{_torch_dtype(full)},",
        ")",
    ]
    return "\n".join(lines)


def _torch_dtype(checkpoint: CheckpointRecord) -> str:
    codes = {tensor.dtype for tensor in checkpoint.tensors}
    known = [name for code, name in _TORCH_DTYPES.items() if code in codes]
    return known[0] if len(known) == 1 else "float16"


def _literal(text: str) -> str:
    """Return a Python string literal, readable if all of it can be printed."""
    readable = visible(text, len(text)) == text
    return json.dumps(text, ensure_ascii=not readable)
