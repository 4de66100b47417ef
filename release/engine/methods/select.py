"""The largest magnitudes of a tensor that is never held: which ones they are, exactly.

The bits of a float64 without its sign, read as an integer, are in the order of the
magnitudes. One reading counts how many elements begin with each pattern of their first
17 bits; the pattern in which the search ends leaves few elements, which the next
reading collects. Where it leaves many, the next 17 bits are counted first. Differences
of F16 values have few bits and are often equal: the first reading finds out how many
bits are 0 in every element, so that these are not counted. Of equal magnitudes, those
with the lower element number come first, and a last reading finds where to stop.
"""

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MAX_COLLECTED: Final = 2**17
"""Elements that are held at once, 16 bytes each."""

_MAGNITUDE_BITS: Final = 63
_MAGNITUDE: Final = 2**_MAGNITUDE_BITS - 1
_DIGIT_BITS: Final = 17

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Largest:
    """Which elements are among the largest.

    Those whose magnitude has bits above `bits`, and of those whose bits are equal, the
    elements up to number `last`.
    """

    bits: int
    last: int

    def drop_others(self, start: int, values: Tensor) -> None:
        """Set every other element of a chunk to 0.

        Args:
            start: Number of the first element.
            values: Flat, float64.
        """
        bits = magnitude_bits(values)
        kept = bits > self.bits
        n_equal_kept = self.last - start + 1
        if n_equal_kept > 0:
            kept[:n_equal_kept] |= bits[:n_equal_kept] == self.bits
        values.mul_(kept)


class Search(Protocol):
    """What has been learned so far, and what the next reading has to find out."""

    def see(self, start: int, bits: Integers) -> None:
        """Take in a chunk of the reading; `bits` are its `magnitude_bits`."""

    def conclude(self) -> "Search | Largest":
        """Return the answer, or the search for the next reading."""


def magnitude_bits(values: Tensor) -> Tensor:
    """Return the bits of float64 values without their signs, as int64."""
    return values.view(torch.int64) & _MAGNITUDE


def search(n_elements: int, n_wanted: int) -> Search | Largest:
    """Begin the search for the `n_wanted` largest of `n_elements`, at least 1 of each.

    Returns:
        The answer where all are wanted, else what takes part in the next reading.
    """
    return _next(_Prefix(0, _MAGNITUDE_BITS, 0), n_elements, n_wanted)


@dataclass(frozen=True, slots=True)
class _Prefix:
    """The first bits of a magnitude, as a number.

    Attributes:
        value: Those bits.
        n_missing: How many bits come after them.
        n_zeros: How many of these, the last ones, are 0 in every element.
    """

    value: int
    n_missing: int
    n_zeros: int

    @property
    def n_open(self) -> int:
        return max(0, self.n_missing - self.n_zeros)

    @property
    def bits(self) -> int:
        """The least magnitude that begins with this."""
        return self.value << self.n_missing

    def places(self, bits: Integers) -> Integers:
        """Return where `bits` begin with this."""
        return np.flatnonzero((bits >> self.n_missing) == self.value)


def _next(prefix: _Prefix, n_matching: int, n_wanted: int) -> Search | Largest:
    """Continue with the elements that begin with `prefix`, of which some are wanted."""
    if n_wanted == n_matching:
        return Largest(prefix.bits - 1, -1)
    if n_matching <= MAX_COLLECTED:
        return _Collect(prefix, n_wanted)
    if prefix.n_open:
        return _Count(prefix, n_wanted)
    return _Locate(prefix, n_wanted)


class _Count:
    """Counts the elements by their next bits."""

    def __init__(self, prefix: _Prefix, n_wanted: int) -> None:
        self._prefix = prefix
        self._n_wanted = n_wanted
        self._width = min(_DIGIT_BITS, prefix.n_open)
        self._rest = prefix.n_missing - self._width
        self._counts = np.zeros(2**self._width, dtype=np.int64)
        self._ever_set = 0

    def see(self, start: int, bits: Integers) -> None:
        del start
        if self._prefix.n_missing < _MAGNITUDE_BITS:
            bits = bits[self._prefix.places(bits)]
        self._ever_set |= int(np.bitwise_or.reduce(bits))
        digits = bits >> self._rest
        digits &= len(self._counts) - 1
        self._counts += np.bincount(digits, minlength=len(self._counts))

    def conclude(self) -> Search | Largest:
        from_above = np.cumsum(self._counts[::-1])
        index = int(np.searchsorted(from_above, self._n_wanted))
        digit = len(self._counts) - 1 - index
        n_matching = int(self._counts[digit])
        n_above = int(from_above[index]) - n_matching
        longer = _Prefix(
            (self._prefix.value << self._width) | digit,
            self._rest,
            _zeros_at_the_end(self._ever_set),
        )
        return _next(longer, n_matching, self._n_wanted - n_above)


def _zeros_at_the_end(bits: int) -> int:
    return (bits & -bits).bit_length() - 1 if bits else _MAGNITUDE_BITS


class _Collect:
    """Collects the elements and sorts them."""

    def __init__(self, prefix: _Prefix, n_wanted: int) -> None:
        self._prefix = prefix
        self._n_wanted = n_wanted
        self._bits: list[Integers] = []
        self._elements: list[Integers] = []

    def see(self, start: int, bits: Integers) -> None:
        places = self._prefix.places(bits)
        self._bits.append(bits[places])
        self._elements.append(places + start)

    def conclude(self) -> Search | Largest:
        bits, elements = np.concatenate(self._bits), np.concatenate(self._elements)
        # Stable, so elements of equal magnitude stay in the order of their numbers.
        order = np.argsort(-bits, kind="stable")
        final = order[self._n_wanted - 1]
        return Largest(int(bits[final]), int(elements[final]))


class _Locate:
    """Finds the last of the wanted elements where all have the same magnitude."""

    def __init__(self, prefix: _Prefix, n_wanted: int) -> None:
        self._prefix = prefix
        self._n_left = n_wanted
        self._last = -1

    def see(self, start: int, bits: Integers) -> None:
        places = self._prefix.places(bits)
        if 0 < self._n_left <= len(places):
            self._last = start + int(places[self._n_left - 1])
        self._n_left -= len(places)

    def conclude(self) -> Search | Largest:
        return Largest(self._prefix.bits, self._last)
