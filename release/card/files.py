"""Card sections about files: which to take, their digests, what rounding cost."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from release.architecture.sdxl import Component, component_of
from release.card import figures
from release.card.environment import Plain
from release.definition import Definition
from release.manifest import (
    CheckpointRecord,
    FileRecord,
    Manifest,
    ParityRecord,
    TensorRecord,
)
from release.numeric.digest import autov2, autov3
from release.numeric.dtype import BY_CODE
from release.numeric.size import size_text

_COMPONENT_TITLES: Final = {
    Component.UNET: "U-Net",
    Component.CLIP_L: "CLIP-L",
    Component.CLIP_G: "CLIP-G",
    Component.VAE: "VAE",
    Component.OTHER: "other",
}
_DTYPE_TITLES: Final = {
    "F64": "fp64",
    "F32": "fp32",
    "F16": "fp16",
    "BF16": "bf16",
    "F8_E4M3": "fp8 e4m3fn",
    "F8_E5M2": "fp8 e5m2",
}
_TAKE_IF: Final = {
    "F64": "you merge further and every digit counts",
    "F32": "you train, or merge further, and have the memory",
    "F16": "you are not sure; it is also the file to train and merge from",
    "BF16": "you train or compute in bf16",
    "F8_E4M3": "memory is short and your program keeps weights in fp8",
    "F8_E5M2": "memory is short and your program has no e4m3fn",
}
_TAKE_SCALED_IF: Final = "memory is short and you use ComfyUI, which reads its scales"
_LAYERS_BY_RANK: Final = {2: "Linear", 4: "Conv2d"}
WORKING_NBYTES: Final = 2_000_000_000
"""Assumed beside the U-Net's weights: latents, attention and program, for one image."""

_SCALE_SUFFIXES: Final = (".weight_scale", ".scale_weight")


def files_section(definition: Definition, manifest: Manifest) -> dict[str, Plain]:
    """Return the tables of the section "Which file to take"."""
    checkpoints = in_published_order(definition, manifest)
    archives = [file for file in manifest.files if file.role == "archive"]
    listed: list[CheckpointRecord | FileRecord] = [*checkpoints, *archives]
    note = definition.usage.fp8_note
    has_fp8 = any(stored_fp8(checkpoint) for checkpoint in checkpoints)
    return {
        "checkpoints": [_checkpoint_row(checkpoint) for checkpoint in checkpoints],
        "archives": [_archive_row(file, checkpoints) for file in archives],
        "sums": "\n".join(f"{record.sha256}  {record.name}" for record in listed),
        "full_precision": full_precision(checkpoints).name,
        "working": f"{WORKING_NBYTES // 10**9} GB",
        "note": note if note and has_fp8 else "",
    }


def measured_section(definition: Definition, manifest: Manifest) -> list[Plain]:
    """Return, for each checkpoint, one row of figures per component and in all."""
    return [
        {"name": checkpoint.name, "rows": _parity_rows(checkpoint)}
        for checkpoint in in_published_order(definition, manifest)
    ]


def in_published_order(
    definition: Definition, manifest: Manifest
) -> tuple[CheckpointRecord, ...]:
    """Return the checkpoints in the order the definition lists their variants."""
    order = {variant: at for at, variant in enumerate(definition.release.variants)}
    return tuple(
        sorted(
            manifest.checkpoints,
            key=lambda record: (order.get(record.variant, len(order)), record.name),
        )
    )


def full_precision(checkpoints: Iterable[CheckpointRecord]) -> CheckpointRecord:
    """Return the checkpoint that keeps most of the result: the largest, first listed.

    Args:
        checkpoints: At least one.
    """
    return max(checkpoints, key=lambda record: record.nbytes)


def dtype_words(checkpoint: CheckpointRecord) -> str:
    """Return what a checkpoint stores, such as "fp8 e4m3fn (U-Net Linear; rest fp16)".

    Read off the tensors themselves, never off the variant's name.
    """
    codes = stored_fp8(checkpoint)
    if not codes:
        return _title(_main_code(checkpoint.tensors))
    low = [tensor for tensor in checkpoint.tensors if tensor.dtype in codes]
    rest = [tensor for tensor in checkpoint.tensors if tensor.dtype not in codes]
    details = [_where(low), *(["with scales"] if is_scaled(checkpoint) else [])]
    if rest:
        details.append(f"rest {_title(_main_code(rest))}")
    return f"{' and '.join(_title(code) for code in codes)} ({'; '.join(details)})"


def component_title(name: str) -> str:
    """Return what people call a component; a name that is not known as it is."""
    titles = {part.value: title for part, title in _COMPONENT_TITLES.items()}
    return titles.get(name, name)


def component_order(name: str) -> tuple[int, str]:
    """Return what components are sorted by; those that are not known come last."""
    order = [component.value for component in Component]
    return (order.index(name) if name in order else len(order), name)


def stored_fp8(checkpoint: CheckpointRecord) -> list[str]:
    """Return the fp8 dtype codes that a checkpoint holds, sorted; none for others."""
    codes = {tensor.dtype for tensor in checkpoint.tensors}
    return sorted(code for code in codes if code in BY_CODE and BY_CODE[code].is_fp8)


def is_scaled(checkpoint: CheckpointRecord) -> bool:
    """Whether a checkpoint holds scales, which its reader must know of."""
    names = (tensor.name for tensor in checkpoint.tensors)
    return any(name.endswith(_SCALE_SUFFIXES) for name in names)


def main_code(checkpoint: CheckpointRecord) -> str:
    """Return the code of a checkpoint's fp8, or of the dtype most bytes are of."""
    return next(iter(stored_fp8(checkpoint)), _main_code(checkpoint.tensors))


def vram_text(checkpoint: CheckpointRecord) -> str:
    """Return how much VRAM one image of about a megapixel takes, estimated, rounded up.

    The U-Net's weights as they are stored, which stay on the card while it samples, and
    `WORKING_NBYTES`; text encoders and VAE are counted as moved off the card.
    """
    unet = sum(
        tensor.nbytes
        for tensor in checkpoint.tensors
        if component_of(tensor.name) is Component.UNET
    )
    tenths = -(-(unet + WORKING_NBYTES) // 10**8)
    return f"{tenths // 10}.{tenths % 10} GB"


def _take_if(checkpoint: CheckpointRecord) -> str:
    if stored_fp8(checkpoint) and is_scaled(checkpoint):
        return _TAKE_SCALED_IF
    return _TAKE_IF.get(main_code(checkpoint), "")


def _checkpoint_row(checkpoint: CheckpointRecord) -> dict[str, Plain]:
    parity = checkpoint.parity
    return {
        "name": checkpoint.name,
        "dtype": dtype_words(checkpoint),
        "size": size_text(checkpoint.nbytes),
        "nbytes": checkpoint.nbytes,
        "vram": vram_text(checkpoint),
        "take_if": _take_if(checkpoint),
        "sha256": checkpoint.sha256,
        "autov2": autov2(checkpoint.sha256),
        "autov3": autov3(checkpoint.data_sha256),
        "snr": figures.snr(parity.snr_db),
        "max_error": figures.error(parity.max_abs_error),
        "flushed": parity.flushed,
        "clamped": parity.clamped,
    }


def _archive_row(
    file: FileRecord, checkpoints: Iterable[CheckpointRecord]
) -> dict[str, Plain]:
    names = {checkpoint.name for checkpoint in checkpoints}
    return {
        "name": file.name,
        "size": size_text(file.nbytes),
        "nbytes": file.nbytes,
        "sha256": file.sha256,
        "autov2": autov2(file.sha256),
        "checkpoints": [member for member in file.members if member in names],
        "others": [member for member in file.members if member not in names],
    }


def _parity_rows(checkpoint: CheckpointRecord) -> list[Plain]:
    parts = sorted(
        checkpoint.components.items(), key=lambda part: component_order(part[0])
    )
    rows: list[Plain] = [
        _parity_row(component_title(name), parity) for name, parity in parts
    ]
    return [*rows, _parity_row("whole file", checkpoint.parity)]


def _parity_row(title: str, parity: ParityRecord) -> dict[str, Plain]:
    return {
        "title": title,
        "n_tensors": parity.n_tensors,
        "n_elements": parity.n_elements,
        "snr": figures.snr(parity.snr_db),
        "max_error": figures.error(parity.max_abs_error),
        "flushed": parity.flushed,
        "clamped": parity.clamped,
    }


def _main_code(tensors: Iterable[TensorRecord]) -> str:
    """Return the dtype code that most bytes are of; "" without tensors."""
    weights: Counter[str] = Counter()
    for tensor in tensors:
        weights[tensor.dtype] += tensor.nbytes
    return min(weights, key=lambda code: (-weights[code], code), default="")


def _where(tensors: Iterable[TensorRecord]) -> str:
    """Return the parts and kinds of layer that tensors are of: "U-Net Linear".

    Biases and scales go with their layer, so ranks other than a weight's do not count.
    """
    found = {(component_of(tensor.name), len(tensor.shape)) for tensor in tensors}
    parts = [part for part in Component if any(part == held for held, _ in found)]
    ranks = sorted({rank for _, rank in found if rank in _LAYERS_BY_RANK})
    titles = ", ".join(_COMPONENT_TITLES[part] for part in parts)
    kinds = " and ".join(_LAYERS_BY_RANK[rank] for rank in ranks)
    return f"{titles} {kinds}".rstrip()


def _title(code: str) -> str:
    return _DTYPE_TITLES.get(code, code)
