"""Distances between floats in steps: how many representable values lie between them."""

from typing import Final

import numpy as np
import torch
from torch import Tensor

_SIGNED: Final = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_WIDER: Final = {1: torch.int16, 2: torch.int32, 4: torch.int64}
"""Integers that hold the distance of any two floats of so many bytes."""


def bits_of(values: Tensor) -> Tensor:
    """Return the same memory as signed integers of the elements' width."""
    return values.view(_SIGNED[values.element_size()])


def steps_between(first: Tensor, second: Tensor) -> Tensor:
    """Return how many steps of their dtype lie between two tensors, per element.

    One step leads to the next representable value; zeros of both signs are 0 steps
    apart. What NaN is apart from anything has no meaning.

    Args:
        first: Flat, of a float dtype.
        second: The same dtype and length.

    Returns:
        Integers, never negative; for F64 no more than 2**63 - 1.
    """
    if first.element_size() == 8:
        return _steps_of_doubles(first, second)
    return (_ordered(first) - _ordered(second)).abs_()


def _ordered(values: Tensor) -> Tensor:
    """Return integers in the order of the values, neighbours one apart."""
    width = values.element_size()
    bits = bits_of(values).to(_WIDER[width])
    sign = bits >> (8 * width - 1)  # 0, or -1 for negative values
    magnitude = bits & ((1 << (8 * width - 1)) - 1)
    return magnitude.bitwise_xor_(sign).sub_(sign)


def _steps_of_doubles(first: Tensor, second: Tensor) -> Tensor:
    # Two finite doubles are up to 2**64 - 2**53 steps apart, which no integer of torch
    # can tell from a small number.
    bits = [bits_of(values).numpy().view(np.uint64) for values in (first, second)]
    magnitudes = [each & np.uint64(2**63 - 1) for each in bits]
    apart = np.maximum(*magnitudes) - np.minimum(*magnitudes)
    across = magnitudes[0] + magnitudes[1]
    has_same_sign = (bits[0] ^ bits[1]) >> np.uint64(63) == 0
    steps = np.minimum(np.where(has_same_sign, apart, across), np.uint64(2**63 - 1))
    return torch.from_numpy(steps.view(np.int64))
