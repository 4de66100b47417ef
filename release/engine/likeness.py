"""How alike the values of two tensors are, as sums over their elements."""

import math
from collections.abc import Iterable


class Likeness:
    """What a comparison has found of one tensor, or of several.

    A is the reference. Elements that are not finite on either side are in no sum and no
    greatest value; where they differ they are counted.

    Attributes:
        n_elements: Elements compared.
        n_differing: Elements whose values differ. Zeros of both signs are equal, and so
            are NaN on both sides, if of the same bits wherever the dtypes are the same.
        n_beyond_rounding: Elements that differ although one side was rounded to the
            dtype and scale of the coarser one.
        n_not_finite: Differing elements that are infinite or NaN on a side.
        max_abs: Greatest absolute difference.
        max_ulp: Greatest distance in steps of the coarser side, after that rounding;
            None where the elements are no floats on both sides.
        error_square: Sum of the squares of the differences.
        square_a: Sum of the squares of A.
        square_b: Sum of the squares of B.
        is_measured: Whether elements are numbers, and were subtracted. Without it, only
            the counts mean something.
        is_equal: Whether dtypes, scales and all bits are the same.
        is_b_rounded: Whether B is A rounded to B's dtype and scale.
        is_a_rounded: Whether A is B rounded to A's dtype and scale.
    """

    __slots__ = (
        "error_square",
        "is_a_rounded",
        "is_b_rounded",
        "is_equal",
        "is_measured",
        "max_abs",
        "max_ulp",
        "n_beyond_rounding",
        "n_differing",
        "n_elements",
        "n_not_finite",
        "square_a",
        "square_b",
    )

    def __init__(self, n_elements: int = 0) -> None:
        self.n_elements = n_elements
        self.n_differing = 0
        self.n_beyond_rounding = 0
        self.n_not_finite = 0
        self.max_abs = 0.0
        self.max_ulp: int | None = None
        self.error_square = 0.0
        self.square_a = 0.0
        self.square_b = 0.0
        self.is_measured = True
        self.is_equal = True
        self.is_b_rounded = True
        self.is_a_rounded = True

    @classmethod
    def total(cls, parts: Iterable["Likeness"]) -> "Likeness":
        """Return the sums and the worst of several, added in the order given."""
        whole = cls()
        whole.is_measured = False
        for part in parts:
            whole.n_elements += part.n_elements
            whole.n_differing += part.n_differing
            whole.n_beyond_rounding += part.n_beyond_rounding
            whole.n_not_finite += part.n_not_finite
            whole.max_abs = max(whole.max_abs, part.max_abs)
            if part.max_ulp is not None:
                whole.max_ulp = max(whole.max_ulp or 0, part.max_ulp)
            whole.error_square += part.error_square
            whole.square_a += part.square_a
            whole.square_b += part.square_b
            whole.is_measured |= part.is_measured
            whole.is_equal &= part.is_equal
            whole.is_b_rounded &= part.is_b_rounded
            whole.is_a_rounded &= part.is_a_rounded
        return whole

    @property
    def has_same_values(self) -> bool:
        """Whether no element differs, however it is stored."""
        return self.n_differing == 0

    @property
    def snr(self) -> float:
        """Signal-to-noise ratio 20 log10(|A| / |A - B|) in dB.

        Infinite if no value differs; minus infinity if A is zero and B is not.
        """
        if self.error_square == 0.0:
            return math.inf
        if self.square_a == 0.0:
            return -math.inf
        return 10 * math.log10(self.square_a / self.error_square)

    @property
    def cosine(self) -> float:
        """Cosine of the angle between A and B; 1 for the same values, 0 beside zeros.

        It is computed from the difference, so that angles far below float32's precision
        of a scalar product still show.
        """
        if self.error_square == 0.0:
            return 1.0
        length_a, length_b = math.sqrt(self.square_a), math.sqrt(self.square_b)
        if length_a == 0.0 or length_b == 0.0:
            return 0.0
        across = max(self.error_square - (length_a - length_b) ** 2, 0.0)
        return max(1.0 - across / (2 * length_a * length_b), -1.0)
