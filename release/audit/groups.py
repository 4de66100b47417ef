"""Groups of tensors that merges treat alike: a block, a part of the model, a kind."""

from dataclasses import dataclass
from enum import Enum

from release.recipe.cells import Cell
from release.recipe.conventions import Convention


class Kind(Enum):
    """What a tensor is in its layer; programs that visit layers may miss a kind."""

    WEIGHT = "weight"
    BIAS = "bias"
    NORM = "norm"
    EMBEDDING = "embedding"


@dataclass(frozen=True, slots=True)
class Group:
    """A cell of a recipe, and a kind of tensor in it."""

    cell: Cell
    kind: Kind

    @property
    def label(self) -> str:
        """The group as reports name it, such as "BASE/clip_l/norm"."""
        return f"{self.cell.label}/{self.kind.value}"


def group_of(name: str, shape: tuple[int, ...], convention: Convention) -> Group:
    """Return the group of a tensor in the all-in-one SDXL layout."""
    return Group(convention.cell_of(name), kind_of(name, shape))


def kind_of(name: str, shape: tuple[int, ...]) -> Kind:
    """Return the kind of a tensor.

    A scale of a normalisation is a weight with one dimension, and its bias belongs to
    it; names tell the biases of norms from others.
    """
    layer, _, last = name.rpartition(".")
    if "embedding" in last or layer.endswith("embedding"):
        return Kind.EMBEDDING
    if last == "weight" and len(shape) < 2:
        return Kind.NORM
    if last.endswith("bias"):
        return Kind.NORM if is_norm(layer) else Kind.BIAS
    return Kind.WEIGHT


def is_norm(layer: str) -> bool:
    """Return whether a layer is a normalisation, by its name in SDXL."""
    own = layer.rpartition(".")[2]
    if "norm" in own or own.startswith("ln_"):
        return True
    # Of a sequence: in_layers.0 and out_layers.0 of a block, out.0 of the U-Net.
    return layer.endswith(("in_layers.0", "out_layers.0", "diffusion_model.out.0"))
