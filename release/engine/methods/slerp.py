"""slerp: from one model to another along an arc instead of a line.

The tensor is one vector, whatever its shape. Its direction moves along the great circle
from a to b, at the part `t` of their angle w, and its length along a line:

    ((sin((1-t) w) a/|a| + sin(t w) b/|b|) / sin(w)) * ((1-t) |a| + t |b|)

That is what sd-mecha computes. mergekit leaves the lengths in (it weighs a and b, not
their directions) and takes the line for any |cos w| above 0.9995; most tensors of two
fine-tunes of one model are nearer than that, so that there it would hardly ever differ
from `lerp`. In float64 the formula is sound down to an angle of 1e-6; below it the arc
differs from the line by less than 1e-12 of the vector, and the line is taken.

The line is also taken where there is no arc: if a or b is all zeros, or if the vectors
are opposite (within 1e-6 of pi). A tensor of one element has no arc either.

Needs one reading before the first chunk, for three sums.

Source:
    K. Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985, section
    3.3. The method `slerp` of sd-mecha 1.1.8; for the differences, of mergekit 0.1.5.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import torch
from torch import Tensor

from release.engine.methods.angle import arc_weights
from release.engine.methods.seam import NotFiniteError, Subject, Sweep
from release.engine.methods.sums import total

_LEAST_SINE: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Weighted:
    """A sum of two models with one weight each."""

    weights: tuple[float, float]

    def apply(self, start: int, arguments: Sequence[Tensor], out: Tensor) -> None:
        """See `release.engine.methods.seam.Prepared`."""
        del start
        first, second = arguments
        torch.mul(first, self.weights[0], out=out)
        out.add_(second.mul_(self.weights[1]))


def prepare(subject: Subject, sweep: Sweep) -> Weighted:
    """Measure the angle; see the module.

    Raises:
        NotFiniteError: The sum of a model's squares is beyond float64.
    """
    t = subject.parameters["t"]
    if t in {0, 1}:
        return Weighted((float(1 - t), float(t)))
    return Weighted(_weights(*_measure(sweep), t))


def _measure(sweep: Sweep) -> tuple[float, float, float]:
    """Return a.a, b.b and a.b."""
    sums = [0.0, 0.0, 0.0]
    for _, (a, b) in sweep():
        for index, product in enumerate((a * a, b * b, a.mul_(b))):
            sums[index] += total(product)
    for argument in (0, 1):
        if not math.isfinite(sums[argument]):
            raise NotFiniteError(argument, None)
    return sums[0], sums[1], sums[2]


def _weights(aa: float, bb: float, ab: float, t: Fraction) -> tuple[float, float]:
    line = (float(1 - t), float(t))
    length_a, length_b = math.sqrt(aa), math.sqrt(bb)
    if length_a == 0.0 or length_b == 0.0:
        return line
    cosine = ab / length_a / length_b
    if not -1.0 < cosine < 1.0:
        return line
    first, second, sine = arc_weights(cosine, t)
    if sine < _LEAST_SINE:
        return line
    length = line[0] * length_a + line[1] * length_b
    return first * (length / length_a), second * (length / length_b)
