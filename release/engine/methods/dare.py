"""dare: a random part of the difference, enlarged to make up for the rest.

Every element of other - base is kept with the probability `density` and divided by it,
or dropped; `lambda` scales what is kept:

    kept:     base + (lambda / density) * (other - base)
    dropped:  base

It is computed as (1 - f) base + f other with f = lambda / density, both factors exact
before they are rounded once, so that density 1 gives other itself.

Which elements are kept depends on the seed, the tensor's name and the element's number,
and on nothing else: see `release.engine.random_bits`. The upper 53 bits of its word are
compared with density * 2**53. Two calls with one seed drop the same elements; give each
its own.

sd-mecha's `dropout` and mergekit's `dare_linear` draw from generators of numpy and
torch, so their masks are others; mergekit also rescales by the sums of magnitudes that
it finds, not by the density.

Needs no reading: every chunk stands for itself. Dimensions make no difference.

Source:
    L. Yu et al., "Language models are super Mario: absorbing abilities from homologous
    models as a free lunch", ICML 2024, arXiv:2311.03099, section 3.2.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from release.engine.methods.seam import Subject, Sweep
from release.engine.random_bits import BITS, random_bits, stream_key

_COMPARED_BITS: Final = 53


@dataclass(frozen=True, slots=True)
class RandomPart:
    """A sum of two models where the random bits say so, the first elsewhere.

    Attributes:
        key: Of the stream of random bits.
        limit: Elements whose upper 53 bits are below it are kept.
        weights: Of base and other in an element that is kept.
    """

    key: int
    limit: int
    weights: tuple[float, float]

    def apply(self, start: int, arguments: Sequence[Tensor], out: Tensor) -> None:
        """See `release.engine.methods.seam.Prepared`."""
        base, other = arguments
        kept = self._kept(start, base.numel())
        out.copy_(kept).mul_(self.weights[0]).add_(~kept)
        out.mul_(base)
        out.add_(other.mul_(kept).mul_(self.weights[1]))

    def _kept(self, start: int, count: int) -> Tensor:
        words = np.empty(count, dtype=np.uint64)
        random_bits(self.key, start, words, np.empty_like(words))
        np.right_shift(words, np.uint64(BITS - _COMPARED_BITS), out=words)
        return torch.from_numpy(words < np.uint64(self.limit))


def prepare(subject: Subject, sweep: Sweep) -> RandomPart:
    """Return the method for this tensor; see the module."""
    del sweep
    density = subject.parameters["density"]
    factor = subject.parameters["lambda"] / density
    return RandomPart(
        key=stream_key(int(subject.parameters["seed"]), subject.name),
        limit=math.ceil(density * 2**_COMPARED_BITS),
        weights=(float(1 - factor), float(factor)),
    )
