"""SDXL in the all-in-one ("sgm") layout: its tensors, their parts, its stand-ins.

The table `sdxl.tsv` beside this module has one row per tensor: name, dtype code, shape
(dimensions joined by "x", "scalar" for none), and use: "required", "optional" (some
released files lack it) or "extra" (a buffer or marker that is not part of the network).
Dtypes in it are nominal, since released files hold the F32 rows as F16.

Source:
    Names, shapes and optional rows: sd-mecha 1.1.8, model config `sdxl-sgm`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final

from release.errors import ShapeError, TensorMismatchError, UsageError, first_names
from release.numeric.dtype import BY_CODE, Dtype

_UNET: Final = "model.diffusion_model."
_CLIP_G: Final = "conditioner.embedders.1."
_SD_TEXT: Final = "cond_stage_model."
_SD2_TEXT: Final = "cond_stage_model.model."
_SDXL_MIDDLE: Final = f"{_UNET}middle_block.1.transformer_blocks.9."
_SD_CONTEXT: Final = f"{_UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
_SD_CONTEXT_PER_WIDTH: Final = {"sd1": (768, 320), "sd2": (1024, 320)}

_TITLES: Final = {
    "sd1": "is an SD1.x checkpoint",
    "sd2": "is an SD2.x checkpoint",
    "unknown": "has tensor names of no known architecture",
}

_SMALLEST_WIDTH: Final = 128
"""Narrowest channel dimension of SDXL; kernels, latent, RGB, positions are smaller."""

DIVISORS: Final = (1, 2, 4, 8, 16, 32, 64)
"""What every width of SDXL can be divided by without a remainder."""


class Component(Enum):
    """The part of a checkpoint that a tensor belongs to."""

    UNET = "unet"
    CLIP_L = "clip_l"
    CLIP_G = "clip_g"
    VAE = "vae"
    OTHER = "other"


_PREFIXES: Final = (
    (_UNET, Component.UNET),
    ("conditioner.embedders.0.", Component.CLIP_L),
    (_CLIP_G, Component.CLIP_G),
    ("first_stage_model.", Component.VAE),
    (_SD_TEXT, Component.CLIP_L),
)

_SCHEDULE_NAMES: Final = frozenset({"logvar", "denoiser.sigmas"})
"""Schedule buffers seen in checkpoints that the table does not list."""


@dataclass(frozen=True, slots=True)
class ArchitectureTensor:
    """One tensor of an architecture.

    `dtype` is nominal. An `optional` tensor may be missing from a valid checkpoint.
    """

    name: str
    dtype: Dtype
    shape: tuple[int, ...]
    optional: bool


def component_of(tensor_name: str) -> Component:
    """Return the part that `tensor_name` belongs to, by its prefix alone.

    SD1 and SD2 names are known too; their one text encoder counts as CLIP-L.
    """
    for prefix, component in _PREFIXES:
        if tensor_name.startswith(prefix):
            return component
    return Component.OTHER


def sdxl_tensors() -> tuple[ArchitectureTensor, ...]:
    """Return the 2,515 tensors of SDXL, sorted by name."""
    return _table()[0]


def copied_reason(name: str, dtype: Dtype) -> str:
    """Return why a tensor is copied bit for bit, or "" if it may be merged and cast.

    Args:
        name: Tensor name in the sgm, SD1 or SD2 layout.
        dtype: What the checkpoint at hand stores it as; a `position_ids` that another
            tool has turned into floats is still copied.
    """
    last = name.rpartition(".")[2]
    if last == "position_ids":
        return "position ids are indices"
    if last == "logit_scale":
        return "logit_scale is a training constant"
    if is_schedule_buffer(name):
        return "noise schedule buffer"
    if name in _marker_names() or name.startswith("edm_"):
        return "prediction type marker"
    if not dtype.is_arithmetic:
        return f"{dtype.code} is only ever copied"
    return ""


def is_copied(name: str, dtype: Dtype) -> bool:
    """Return whether a tensor is copied bit for bit: never computed, never cast."""
    return bool(copied_reason(name, dtype))


def is_schedule_buffer(name: str) -> bool:
    """Return whether a tensor is a buffer of the noise schedule, not of the network."""
    return name in _schedule_names()


def detect(tensors: Mapping[str, tuple[int, ...]]) -> str:
    """Return "sdxl", "sd1", "sd2" or "unknown" for a checkpoint's names and shapes.

    Names decide, so narrow stand-ins are recognised. Widths matter only for a U-Net
    without a text encoder, and then as the ratio of context width to block width.
    """
    names = tensors.keys()
    if any(name.startswith((_CLIP_G, _SDXL_MIDDLE)) for name in names):
        return "sdxl"
    if any(name.startswith(_SD2_TEXT) for name in names):
        return "sd2"
    if any(name.startswith(_SD_TEXT) for name in names):
        return "sd1"
    shape = tensors.get(_SD_CONTEXT, ())
    if len(shape) == 2:
        width, context = shape
        for architecture, (wide, narrow) in _SD_CONTEXT_PER_WIDTH.items():
            if context * narrow == width * wide:
                return architecture
    return "unknown"


def check_sdxl(path: Path, tensors: Mapping[str, tuple[int, ...]]) -> None:
    """Check that a checkpoint holds every tensor of SDXL with the right rank.

    Widths are not compared, so narrow stand-ins pass; optional tensors may be missing.

    Args:
        path: Named in the error.
        tensors: Shape of every tensor of the checkpoint, by name.

    Raises:
        TensorMismatchError: Code "not-sdxl" or "missing-tensors".
        ShapeError: A tensor's rank differs from SDXL's.
    """
    found = detect(tensors)
    if found != "sdxl":
        raise TensorMismatchError(
            path,
            f"{_TITLES[found]}; expected SDXL",
            code="not-sdxl",
            hint="pass an all-in-one SDXL checkpoint",
        )
    missing = [
        entry.name
        for entry in sdxl_tensors()
        if not entry.optional and entry.name not in tensors
    ]
    if missing:
        raise TensorMismatchError(
            path,
            f"lacks {len(missing):,} tensors of SDXL: {first_names(missing)}",
            code="missing-tensors",
            hint=_missing_hint(tensors),
        )
    for entry in sdxl_tensors():
        shape = tensors.get(entry.name)
        if shape is not None and len(shape) != len(entry.shape):
            raise ShapeError(
                path,
                f"{entry.name} has {len(shape)} dimensions {list(shape)}; expected"
                f" {len(entry.shape)}, as in {list(entry.shape)}",
                code="rank",
                hint="the file is damaged or was written in another layout",
            )


def narrow_shape(entry: ArchitectureTensor, divisor: int) -> tuple[int, ...]:
    """Return the shape of `entry` with every width divided by `divisor`.

    Divided are channels, features and the vocabulary. Kept are kernel sizes, the 4
    latent, 3 RGB and 8 moment channels, the 77 positions, and tensors that are only
    copied. One rule for all tensors, so layers still fit together and the packed
    `in_proj` stays three times its width. The parameter count falls with the square
    of `divisor`; 1 gives the true shapes.

    Raises:
        UsageError: `divisor` is none of `DIVISORS`.
    """
    if divisor not in DIVISORS:
        allowed = ", ".join(str(value) for value in DIVISORS)
        raise UsageError(
            f"divisor {divisor}: expected one of {allowed}",
            code="narrow-divisor",
            hint="every width of SDXL is a multiple of 64",
        )
    if is_copied(entry.name, entry.dtype):
        return entry.shape
    return tuple(
        size // divisor if size >= _SMALLEST_WIDTH else size for size in entry.shape
    )


def _missing_hint(tensors: Mapping[str, tuple[int, ...]]) -> str:
    present = {component_of(name) for name in tensors}
    wanted = (Component.UNET, Component.CLIP_L, Component.CLIP_G, Component.VAE)
    absent = [part.value for part in wanted if part not in present]
    if absent:
        return f"no tensor of {', '.join(absent)}: pass an all-in-one checkpoint"
    return "the file is incomplete, or its tensors have names of another layout"


@cache
def _table() -> tuple[tuple[ArchitectureTensor, ...], tuple[ArchitectureTensor, ...]]:
    """Return (network tensors, extra tensors) of the package's table."""
    file = resources.files("release.architecture") / "sdxl.tsv"
    network: list[ArchitectureTensor] = []
    extra: list[ArchitectureTensor] = []
    for line in file.read_text(encoding="ascii").splitlines():
        name, code, dimensions, use = line.split("\t")
        shape = (
            ()
            if dimensions == "scalar"
            else tuple(int(size) for size in dimensions.split("x"))
        )
        entry = ArchitectureTensor(name, BY_CODE[code], shape, use != "required")
        (extra if use == "extra" else network).append(entry)
    return tuple(network), tuple(extra)


@cache
def _schedule_names() -> frozenset[str]:
    listed = {entry.name for entry in _table()[1] if entry.shape == (1000,)}
    return _SCHEDULE_NAMES | listed


@cache
def _marker_names() -> frozenset[str]:
    return frozenset(entry.name for entry in _table()[1]) - _schedule_names()
