"""ties: the largest differences of several models, where they pull the same way.

Of every difference other - base, in this order:

* trim: the share `density` of the elements with the largest magnitudes is kept, the
  others become 0. Their number is density * n, rounded down, at least 1; of equal
  magnitudes the lower element number is kept.
* elect: the sign of the sum of what is left, element by element.
* merge: the mean of those differences that have the elected sign, scaled by `lambda`
  and added to the base. Where the sum is 0 no sign is elected: base stays.

It is computed as (1 - lambda) base + lambda * (mean of the chosen others), which is the
same and gives other itself for one model with density 1 and lambda 1.

Each tensor is trimmed for itself, as by sd-mecha and mergekit; the paper's program
trims the vector of all parameters at once. A sum of exactly 0 counts as positive for
mergekit, and as the sign of the majority of elements for the paper's program. sd-mecha
counts signs to elect one unless told otherwise (`vote_sgn`), and its trim keeps all of
equal magnitudes.

Needs readings before the first chunk: none with density 1, one for small tensors, two
or three for larger ones, at most five; see `release.engine.methods.select`. All that is
kept of them is one threshold for each model. Dimensions make no difference; a number is
its own largest element.

Source:
    P. Yadav et al., "TIES-merging: resolving interference when merging models", NeurIPS
    2023, arXiv:2306.01708, section 4.2 and algorithm 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from release.engine.methods.seam import Subject, Sweep
from release.engine.methods.select import Largest, Search, magnitude_bits, search


@dataclass(frozen=True, slots=True)
class Agreement:
    """The mean of the models that agree.

    Attributes:
        largest: For each model but the base, what its trim keeps.
        weights: Of the base and of the mean.
    """

    largest: tuple[Largest, ...]
    weights: tuple[float, float]

    def apply(self, start: int, arguments: Sequence[Tensor], out: Tensor) -> None:
        """See `release.engine.methods.seam.Prepared`."""
        base, *others = arguments
        elected = torch.zeros_like(base)
        signs = []
        for other, largest in zip(others, self.largest, strict=True):
            torch.sub(other, base, out=out)
            largest.drop_others(start, out)
            elected.add_(out)
            signs.append(_sign(out))
        sign = _sign(elected)
        undecided = sign == 0.0
        decided = ~undecided
        count = elected.copy_(undecided)
        out.zero_()
        for other, its_sign in zip(others, signs, strict=True):
            agrees = (its_sign == sign) & decided
            count.add_(agrees)
            out.add_(other.mul_(agrees))
        out.div_(count).mul_(self.weights[1])
        share = count.copy_(decided).mul_(self.weights[0]).add_(undecided)
        out.add_(base.mul_(share))


def _sign(values: Tensor) -> Tensor:
    return values.sign().to(torch.float32)


def prepare(subject: Subject, sweep: Sweep) -> Agreement:
    """Find the thresholds; see the module."""
    density, scale = subject.parameters["density"], subject.parameters["lambda"]
    n_elements = subject.n_elements
    n_kept = max(1, int(density * n_elements))
    n_others = subject.n_models - 1
    found: list[Search | Largest] = [
        search(max(1, n_elements), n_kept) for _ in range(n_others)
    ]
    while not all(isinstance(each, Largest) for each in found):
        found = _read(found, sweep)
    return Agreement(
        tuple(each for each in found if isinstance(each, Largest)),
        (float(1 - scale), float(scale)),
    )


def _read(found: Sequence[Search | Largest], sweep: Sweep) -> list[Search | Largest]:
    """Read the tensor once for all searches that are still open."""
    for start, (base, *others) in sweep():
        for each, other in zip(found, others, strict=True):
            if not isinstance(each, Largest):
                each.see(start, magnitude_bits(other.sub_(base)).numpy())
    return [each if isinstance(each, Largest) else each.conclude() for each in found]
