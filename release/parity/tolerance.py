"""How far apart tensors may be: thresholds, of everything or of one part."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from release.architecture.contents import Part
from release.engine.likeness import Likeness
from release.errors import UsageError, visible


class Measure(Enum):
    """A figure that has a threshold."""

    SNR = "snr"
    MAX_ABS = "max-abs"
    COSINE = "cosine"
    ULP = "ulp"


_AT_LEAST: Final = frozenset({Measure.SNR, Measure.COSINE})
_UNITS: Final = {Measure.SNR: " dB", Measure.ULP: " ulp"}
_RANGES: Final = {
    Measure.SNR: (-1e3, 1e3),
    Measure.MAX_ABS: (0.0, 1e300),
    Measure.COSINE: (-1.0, 1.0),
    Measure.ULP: (0.0, 2.0**63),
}
_EXAMPLE: Final = "for example snr=30, max-abs=1e-3, cosine=0.999, ulp=2 or unet:snr=25"


@dataclass(frozen=True, slots=True)
class Tolerance:
    """One threshold.

    `limit` is the least SNR in dB or cosine that passes, or the greatest difference or
    number of steps. `part` is None for a threshold of everything.
    """

    measure: Measure
    limit: float
    part: Part | None = None

    @property
    def text(self) -> str:
        """The threshold as it is written on the command line."""
        prefix = "" if self.part is None else f"{self.part.value}:"
        return f"{prefix}{self.measure.value}={self.limit:g}"

    def miss(self, likeness: Likeness) -> str:
        """Return how a tensor misses the threshold; "" if it does not."""
        found = _figure(self.measure, likeness)
        if self.measure in _AT_LEAST:
            is_met, relation = found >= self.limit, "below"
        else:
            is_met, relation = found <= self.limit, "above"
        if is_met:
            return ""
        unit = _UNITS.get(self.measure, "")
        name = "SNR" if self.measure is Measure.SNR else self.measure.value
        return f"{name} {found:.6g}{unit} is {relation} {self.limit:g}"


def _figure(measure: Measure, likeness: Likeness) -> float:
    match measure:
        case Measure.SNR:
            return likeness.snr
        case Measure.MAX_ABS:
            return likeness.max_abs
        case Measure.COSINE:
            return likeness.cosine
        case Measure.ULP:
            return float(likeness.max_ulp or 0)


def parse_tolerance(text: str) -> Tolerance:
    """Return the threshold that `[COMPONENT:]MEASURE=NUMBER` says.

    Raises:
        UsageError: `tolerance`.
    """
    left, equals, number = text.partition("=")
    part, colon, measure = left.rpartition(":")
    try:
        found = Tolerance(
            Measure(measure), float(number), Part(part) if colon else None
        )
    except ValueError:
        raise _refusal(text, "expected [COMPONENT:]MEASURE=NUMBER") from None
    least, greatest = _RANGES[found.measure]
    if not equals or not least <= found.limit <= greatest:
        raise _refusal(text, f"expected a number from {least:g} to {greatest:g}")
    return found


def _refusal(text: str, reason: str) -> UsageError:
    parts = ", ".join(each.value for each in Part)
    return UsageError(
        f"--tolerance {visible(text)}: {reason}",
        code="tolerance",
        hint=f"{_EXAMPLE}; components are {parts}",
    )


class Tolerances:
    """The thresholds of a comparison.

    Args:
        given: In any order. One of a part replaces that of everything for the same
            measure.

    Raises:
        UsageError: `tolerance`, for a measure that has two thresholds of one part.
    """

    def __init__(self, given: Sequence[Tolerance] = ()) -> None:
        self._by_key: dict[tuple[Part | None, Measure], Tolerance] = {}
        for each in given:
            if (each.part, each.measure) in self._by_key:
                raise _refusal(each.text, "the same measure is given twice")
            self._by_key[each.part, each.measure] = each

    @property
    def texts(self) -> tuple[str, ...]:
        """All of them, as they are written on the command line."""
        return tuple(each.text for each in self._by_key.values())

    def misses(self, part: Part, likeness: Likeness) -> tuple[str, ...]:
        """Return why a tensor does not pass, one reason each; none if it does.

        With thresholds for its part, a tensor of floats passes if it meets them all.
        Any other passes if one side is the other one, or the other one rounded.

        Args:
            part: Of the tensor.
            likeness: What was measured of it.
        """
        if likeness.has_same_values:
            return ()
        if likeness.n_not_finite:
            count = f"{likeness.n_not_finite:,} of {likeness.n_elements:,} values"
            return (f"{count} are NaN or infinite in one file only",)
        limits = self._of(part) if likeness.max_ulp is not None else ()
        if limits:
            found = (limit.miss(likeness) for limit in limits)
            return tuple(miss for miss in found if miss)
        if likeness.is_b_rounded or likeness.is_a_rounded:
            return ()
        count = f"{likeness.n_beyond_rounding:,} of {likeness.n_elements:,} values"
        if not likeness.is_measured:
            return (f"{count} differ",)
        return (f"{count} differ, by up to {likeness.max_abs:.3g}",)

    def _of(self, part: Part) -> tuple[Tolerance, ...]:
        found = (
            self._by_key.get((part, measure)) or self._by_key.get((None, measure))
            for measure in Measure
        )
        return tuple(each for each in found if each is not None)
