"""What a tensor is within its module, told from names and ranks."""

from collections.abc import Mapping
from enum import Enum
from typing import Protocol

from release.numeric.dtype import Dtype


class TensorLike(Protocol):
    """What the rules look at."""

    @property
    def dtype(self) -> Dtype:
        """Dtype in the source."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Dimensions in the source."""


class Kind(Enum):
    """What a tensor is; the value is the word that a rule uses."""

    MATRIX = "matrix"
    """Weight of a Linear module: a `.weight` of rank 2."""
    CONV = "conv"
    """Weight of a Conv2d module: a `.weight` of rank 4."""
    BIAS = "bias"
    """Bias beside a matrix or a conv."""
    NORM = "norm"
    """A `.weight` of rank 1 and the bias beside it."""
    EMBEDDING = "embedding"
    """A table of tokens or positions, or what is named like one."""
    OTHER = "other"
    """Raw parameters, and weights of other ranks."""


_KIND_OF_RANK = {1: Kind.NORM, 2: Kind.MATRIX, 4: Kind.CONV}


def kind_of(name: str, tensors: Mapping[str, TensorLike]) -> Kind:
    """Return what the tensor `name` is among `tensors`, which holds its whole module.

    Ranks 3 and 5 are not convs: a `.weight` of rank 3 may as well be a stack of
    matrices, and no known checkpoint of an image model needs them small.
    """
    module, _, parameter = name.rpartition(".")
    if _is_embedding(module, parameter):
        return Kind.EMBEDDING
    weight = tensors.get(f"{module}.weight")
    if weight is None or parameter not in {"weight", "bias"}:
        return Kind.OTHER
    kind = _KIND_OF_RANK.get(len(weight.shape), Kind.OTHER)
    if parameter == "bias" and kind in {Kind.MATRIX, Kind.CONV}:
        return Kind.BIAS
    return kind


def _is_embedding(module: str, parameter: str) -> bool:
    """Tell tables from the time embedding, which is made of Linear modules."""
    if "time_embed" in module:
        return False
    own_name = module.rpartition(".")[2]
    return "embed" in own_name or "embed" in parameter
