"""The modules of a model that a LoRA can change, and what it calls them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from release.architecture.lora_names import trained_names
from release.architecture.modelspec import MODELSPEC, modelspec_of
from release.formats.lora.places import Place
from release.formats.tensor import TensorEntry

_RANKS: Final = (2, 4)
"""Dimensions of a matrix and of a convolution."""
_BASE_VERSIONS: Final = {"sdxl": "sdxl_base_v1-0", "sd1": "sd_v1", "sd2": "sd_v2"}
_ARCHITECTURE: Final = f"{MODELSPEC}architecture"


@dataclass(frozen=True, slots=True)
class LoraModule:
    """A matrix or convolution of a model.

    Attributes:
        name: What the names of its factors begin with.
        place: Which tensor it is, or which of the equal parts of one; not transposed.
        shape: (out, in) or (out, in, height, width), of the part.
    """

    name: str
    place: Place
    shape: tuple[int, ...]

    def rank(self, wish: int) -> int:
        """Return `wish`, or the most that the shape allows."""
        out, *rest = self.shape
        n_columns = 1
        for size in rest:
            n_columns *= size
        return min(wish, out, n_columns)

    def up_shape(self, rank: int) -> tuple[int, ...]:
        """Return the shape of the factor that is applied last."""
        return (self.shape[0], rank, *(1 for _ in self.shape[2:]))

    def down_shape(self, rank: int) -> tuple[int, ...]:
        """Return the shape of the factor that is applied first."""
        return (rank, *self.shape[1:])


def lora_modules(
    tensors: Mapping[str, TensorEntry], architecture: str
) -> tuple[LoraModule, ...]:
    """Return the linear layers and convolutions of U-Net and text encoders.

    Args:
        tensors: Of the model, by name as in a single file.
        architecture: As `release.architecture.sdxl.detect` gives it.

    Returns:
        Sorted by tensor and part. Tensors whose dtype is only ever copied have none.
    """
    return tuple(
        module
        for name in sorted(tensors)
        for module in _modules(tensors[name], architecture)
    )


def lora_metadata(architecture: str, *, rank: int) -> dict[str, str]:
    """Return what the header of a LoRA says of itself, whatever its factors.

    Source:
        kohya-ss/sd-scripts, `networks/extract_lora_from_models.py`; A1111 tells LoRAs
        of SDXL by `ss_base_model_version`. Stability-AI/ModelSpec 1.0.1: the identifier
        of an architecture with "/lora" is that of its LoRAs.
    """
    metadata = {
        "format": "pt",
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(float(rank)),
        "ss_network_args": f'{{"conv_dim": "{rank}", "conv_alpha": "{float(rank)}"}}',
        **modelspec_of(architecture),
    }
    if _ARCHITECTURE in metadata:
        metadata[_ARCHITECTURE] += "/lora"
    if architecture in _BASE_VERSIONS:
        metadata["ss_base_model_version"] = _BASE_VERSIONS[architecture]
        metadata["ss_v2"] = str(architecture == "sd2")
    return metadata


def _modules(entry: TensorEntry, architecture: str) -> Iterator[LoraModule]:
    names = trained_names(entry.name, architecture)
    shape = entry.shape
    is_layer = len(shape) in _RANKS and all(shape) and entry.dtype.is_arithmetic
    if not names or not is_layer or shape[0] % len(names):
        return
    part = (shape[0] // len(names), *shape[1:])
    for number, name in enumerate(names):
        yield LoraModule(name, Place(entry.name, number, len(names)), part)
