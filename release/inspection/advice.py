"""Which conversion of a checkpoint makes sense, and how large its result is."""

import math
from collections.abc import Collection, Mapping
from typing import Final

from release.architecture.contents import Contents
from release.architecture.ema import is_ema
from release.formats.tensor import TensorEntry
from release.inspection.facts import main_dtype
from release.inspection.report import UNREADABLE, Advice, LayoutReport
from release.numeric.dtype import Dtype
from release.variants.assign import assign
from release.variants.preset import find_preset

_HALVED: Final = "half the size, in what most programs expect"
_WIDENED: Final = "for programs that cannot load fp8; no precision comes back"
_REASONS: Final = {
    "fp8": "least memory, in every program that loads fp8; some precision is lost",
    "fp8-scaled": "nearly as small and closer to the original; for ComfyUI",
}
_NETWORKS: Final = frozenset({Contents.ALL_IN_ONE, Contents.UNET, Contents.SOME_PARTS})
_WIDE: Final = frozenset({Dtype.F32, Dtype.F64})


def advise(
    tensors: Mapping[str, TensorEntry],
    architecture: str,
    contents: Contents,
    *,
    layout: LayoutReport | None,
    auxiliary: Collection[str],
) -> tuple[tuple[Advice, ...], str]:
    """Return the conversions that make sense, the best one first, and a note.

    Args:
        tensors: A whole checkpoint.
        architecture: As `release.architecture.sdxl.detect` names it.
        contents: What the file is.
        layout: How fp8 weights are stored; None where there are none.
        auxiliary: Scales and markers, which an output does not hold, as it does not
            hold EMA weights.
    """
    weights = {
        name: entry
        for name, entry in tensors.items()
        if name not in auxiliary and not is_ema(name)
    }
    main = main_dtype(weights.values())
    if main is None:
        return (), "nothing to convert: no tensor holds floating-point numbers"
    if layout is not None and layout.name == UNREADABLE:
        return (), "not as it is: nothing explains how its fp8 weights are to be read"
    options, note = _options(main, architecture, contents), ""
    if layout is not None:
        options = {"fp16": _WIDENED}
        note = "already fp8; for other variants convert the file that it was made from"
    elif not options:
        note = f"not needed: {main.code} suits this kind of file"
    advice = (
        Advice(name, _nbytes_as(name, weights, architecture), reason)
        for name, reason in options.items()
    )
    return tuple(advice), note


def _options(main: Dtype, architecture: str, contents: Contents) -> dict[str, str]:
    """Return preset -> what speaks for it."""
    options = {"fp16": _HALVED} if main in _WIDE else {}
    if contents in _NETWORKS and architecture != "unknown":
        options |= _REASONS
    return options


def _nbytes_as(
    preset: str, tensors: Mapping[str, TensorEntry], architecture: str
) -> int:
    """Return the bytes of all data under a preset, without header and scales."""
    assigned = assign(find_preset(preset), tensors, architecture=architecture)
    return sum(
        math.ceil(entry.n_elements * assigned[name].dtype.bits / 8)
        for name, entry in tensors.items()
    )
