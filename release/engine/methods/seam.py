"""What a merge method is given, what it gives back, and what it needs to be read."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

SweptChunk: TypeAlias = tuple[int, Sequence[Tensor]]
"""The first element, and one flat float64 tensor for each model of the method."""

Sweep: TypeAlias = Callable[[], Iterator[SweptChunk]]
"""A reading of the whole tensor, from its first element to its last.

Every call reads anew. Chunks come in order, all of the same length but the last; what a
method measures may depend on that length, so it has to be the same wherever a recipe is
built. The tensors are reused buffers, and a method may overwrite them.
"""


class Need(Enum):
    """What a method has to know of a tensor before its first chunk can be computed."""

    CHUNK = "chunk"
    """Nothing: every chunk stands for itself."""
    READING = "reading"
    """One reading of the whole tensor; what is kept of it is small."""
    READINGS = "readings"
    """Several readings, mostly two or three; what is kept of them is bounded."""


class Prepared(Protocol):
    """A method that has measured a tensor and can compute any chunk of it."""

    def apply(self, start: int, arguments: Sequence[Tensor], out: Tensor) -> None:
        """Compute the elements from `start` on.

        Chunks may come in any order, cut anywhere, and more than once: the result of an
        element is always the same.

        Args:
            start: First element.
            arguments: For each model, its values: flat, float64, finite, of one length.
                They may be overwritten.
            out: Where the result goes: as long, float64, no part of the arguments.
        """


@dataclass(frozen=True, slots=True)
class Subject:
    """The tensor that a method is to compute.

    Attributes:
        name: Its name in the checkpoint.
        shape: Its shape; () for a number.
        n_models: How many models the method is given.
        parameters: All numbers of the method, exact.
    """

    name: str
    shape: tuple[int, ...]
    n_models: int
    parameters: dict[str, Fraction]

    @property
    def n_elements(self) -> int:
        """How many numbers the tensor holds."""
        count = 1
        for length in self.shape:
            count *= length
        return count


class NotFiniteError(Exception):
    """A model holds NaN or an infinity, or numbers whose squares float64 cannot add.

    Never the user's to see: the engine turns it into a message about the ingredient.

    Attributes:
        argument: Which model of the method, from 0.
        element: Which element of the tensor; None if every element is finite and only
            their sum is not.
    """

    def __init__(self, argument: int, element: int | None) -> None:
        super().__init__(f"model {argument}, element {element}")
        self.argument = argument
        self.element = element


def check_finite(start: int, arguments: Sequence[Tensor]) -> None:
    """Refuse a chunk that holds NaN or infinity.

    A method may drop an element, or take one for the larger of two; a NaN would vanish.

    Raises:
        NotFiniteError: Names the first such element of the first such model.
    """
    for index, values in enumerate(arguments):
        if values.numel() == 0:
            continue
        low, high = torch.aminmax(values)
        if not bool(torch.isfinite(low) & torch.isfinite(high)):
            place = int((~torch.isfinite(values)).nonzero()[0])
            raise NotFiniteError(index, start + place)
