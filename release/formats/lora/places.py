"""Where in a model the change of a LoRA's module belongs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Place:
    """A tensor of the model, or one of the equal parts that it is stacked of.

    Attributes:
        tensor: Name in the model.
        part: Which part, along dimension 0, from 0.
        n_parts: How many there are; 1 is the whole tensor.
        transposed: Whether the model stores the module's matrix transposed.
    """

    tensor: str
    part: int = 0
    n_parts: int = 1
    transposed: bool = False


Names: TypeAlias = Mapping[str, tuple[Place, ...]]
"""What a LoRA calls a module, with ".weight" or ".bias" -> all that it may mean.

More than one place is a name that cannot be resolved.
"""
