"""The names that scales and markers have, and one pass over a checkpoint's names.

A module's tensors share everything up to the last dot: `X.weight`, `X.weight_scale`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from release.formats.tensor import TensorEntry
from release.numeric.dtype import Dtype

WEIGHT: Final = "weight"
SCALE: Final = "weight_scale"
LEGACY_SCALE: Final = "scale_weight"
INVERSE_SCALE: Final = "weight_scale_inv"
COMFY_QUANT: Final = "comfy_quant"
MARKER: Final = "scaled_fp8"

SCALES: Final = (LEGACY_SCALE, SCALE, INVERSE_SCALE)
"""What multiplies a weight, in three spellings."""

INPUT_SCALES: Final = ("input_scale", "scale_input")
"""What divides activations; it says nothing about the weight."""

UNREAD: Final = ("weight_zero_point", "pre_quant_scale")
"""What changes a quantised weight's meaning in a way that is not read here."""

_KNOWN: Final = frozenset({*SCALES, *INPUT_SCALES, *UNREAD, COMFY_QUANT, MARKER})


@dataclass(frozen=True, slots=True)
class Survey:
    """What one pass over the names and dtypes found.

    Attributes:
        fp8: Tensors of an fp8 dtype, in the order of the checkpoint.
        modules: Last part of a name -> the modules that have such a tensor.
    """

    fp8: tuple[str, ...]
    modules: Mapping[str, tuple[str, ...]]

    def having(self, *parts: str) -> tuple[str, ...]:
        """Return the modules that have a tensor named by any of `parts`."""
        return tuple(module for part in parts for module in self.modules.get(part, ()))

    def fp8_modules(self) -> tuple[str, ...]:
        """Return the modules whose weight is fp8."""
        parts = (name.rpartition(".") for name in self.fp8)
        return tuple(module for module, _, part in parts if part == WEIGHT)

    def scales(self) -> tuple[tuple[str, str], ...]:
        """Return (module, scale tensor) for every scale of a weight."""
        return tuple(
            (module, member(module, part))
            for part in SCALES
            for module in self.modules.get(part, ())
        )


def survey_of(tensors: Mapping[str, TensorEntry]) -> Survey:
    """Return what the names and dtypes of `tensors` say; no data is read."""
    fp8: list[str] = []
    modules: dict[str, list[str]] = {}
    for name, entry in tensors.items():
        if entry.dtype is Dtype.F8_E4M3 or entry.dtype is Dtype.F8_E5M2:
            fp8.append(name)
        module, _, part = name.rpartition(".")
        if part in _KNOWN:
            modules.setdefault(part, []).append(module)
    fp8 = [name for name in fp8 if name.rpartition(".")[2] not in _KNOWN]
    return Survey(tuple(fp8), {part: tuple(found) for part, found in modules.items()})


def member(module: str, part: str) -> str:
    """Return the name of a module's tensor; the root module has no name."""
    return f"{module}.{part}" if module else part


class ScaleNames(NamedTuple):
    """The tensors that ComfyUI's current layout puts beside a weight."""

    scale: str
    comfy_quant: str


def scale_names(weight: str) -> ScaleNames:
    """Return the names beside `X.weight`: `X.weight_scale` and `X.comfy_quant`.

    Raises:
        ValueError: The last part of the name is not "weight".
    """
    module, _, part = weight.rpartition(".")
    if part != WEIGHT:
        message = f"tensor {weight}: expected a name that ends in .{WEIGHT}"
        raise ValueError(message)
    return ScaleNames(member(module, SCALE), member(module, COMFY_QUANT))
