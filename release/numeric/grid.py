"""The values that a float dtype can hold, as a grid in float64.

torch rounds whole checkpoints (`release.numeric.cast`); this is for the small arrays of
an analysis, and for asking how far apart a dtype's values are at some magnitude.

Source:
    IEEE 754-2019, section 3.3; OCP 8-bit Floating Point Specification v1.0, section 5.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from release.numeric.dtype import Dtype

Float64Array = NDArray[np.float64]

_LEAST_EXPONENTS: Final = {
    Dtype.F32: -126,
    Dtype.F16: -14,
    Dtype.BF16: -126,
    Dtype.F8_E4M3: -6,
    Dtype.F8_E5M2: -14,
    Dtype.F64: -1022,
}
"""Exponent of the smallest normal number."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The finite values of a dtype.

    Attributes:
        mantissa_bits: Stored bits of the significand.
        least_exponent: Exponent of the smallest normal number.
        finite_max: Greatest finite magnitude.
    """

    mantissa_bits: int
    least_exponent: int
    finite_max: float

    def spacing(self, magnitudes: Float64Array) -> Float64Array:
        """Return how far apart values are at some magnitudes: one unit, an ulp.

        Args:
            magnitudes: Any shape; signs do not matter.
        """
        exponents = np.frexp(magnitudes)[1] - 1
        exponents = np.maximum(exponents, self.least_exponent)
        # Zero has no exponent of its own; it lies among the smallest values.
        exponents = np.where(magnitudes == 0, self.least_exponent, exponents)
        unit: Float64Array = np.ldexp(1.0, exponents - self.mantissa_bits)
        return unit

    def round(self, values: Float64Array) -> Float64Array:
        """Return values rounded once, to nearest, ties to even; clamped to the range.

        Args:
            values: Any shape. NaN stays NaN.
        """
        if self.mantissa_bits >= _FLOAT64_BITS:
            return values
        unit = self.spacing(values)
        rounded = np.rint(values / unit) * unit
        return np.clip(rounded, -self.finite_max, self.finite_max)


_FLOAT64_BITS: Final = 52
_FLOAT32_DROPPED: Final = (1 << 29) - 1
"""The mantissa bits that float64 has beyond float32."""


def to_odd(values: Float64Array) -> NDArray[np.float32]:
    """Return values rounded to odd at float32's precision, as a pass hands them on.

    Args:
        values: Any shape, finite; see `release.numeric.cast.sticky_float32`.
    """
    bits = values.view(np.int64)
    odd = (((bits & _FLOAT32_DROPPED) + _FLOAT32_DROPPED) | bits) & ~_FLOAT32_DROPPED
    return odd.view(np.float64).astype(np.float32)


def grid_of(dtype: Dtype) -> Grid:
    """Return the grid of an arithmetic dtype.

    Raises:
        ValueError: The dtype is only ever copied.
    """
    bits, finite_max = dtype.mantissa_bits, dtype.finite_max
    if bits is None or finite_max is None:
        message = f"{dtype.code} has no grid of values"
        raise ValueError(message)
    return Grid(bits, _LEAST_EXPONENTS[dtype], finite_max)
