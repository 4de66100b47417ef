"""The dtypes of the safetensors format: codes, widths, ranges.

A dtype is named by its safetensors code ("F16"), never by a framework's name. This
module knows nothing of torch, so a header can be read and printed without loading it.

Source:
    huggingface/safetensors, README "Format" and `Dtype` in `tensor.rs` (0.8.0).
"""

from enum import Enum


class Dtype(Enum):
    """A safetensors dtype; members in the format's alignment order, small first."""

    BOOL = ("BOOL", 8, None)
    F4 = ("F4", 4, None)
    F6_E2M3 = ("F6_E2M3", 6, None)
    F6_E3M2 = ("F6_E3M2", 6, None)
    U8 = ("U8", 8, None)
    I8 = ("I8", 8, None)
    F8_E5M2 = ("F8_E5M2", 8, 57344.0)
    F8_E4M3 = ("F8_E4M3", 8, 448.0)
    F8_E8M0 = ("F8_E8M0", 8, None)
    F8_E4M3FNUZ = ("F8_E4M3FNUZ", 8, None)
    F8_E5M2FNUZ = ("F8_E5M2FNUZ", 8, None)
    I16 = ("I16", 16, None)
    U16 = ("U16", 16, None)
    F16 = ("F16", 16, 65504.0)
    BF16 = ("BF16", 16, float.fromhex("0x1.fep127"))
    I32 = ("I32", 32, None)
    U32 = ("U32", 32, None)
    F32 = ("F32", 32, float.fromhex("0x1.fffffep127"))
    C64 = ("C64", 64, None)
    F64 = ("F64", 64, float.fromhex("0x1.fffffffffffffp1023"))
    I64 = ("I64", 64, None)
    U64 = ("U64", 64, None)

    def __init__(self, code: str, bits: int, finite_max: float | None) -> None:
        self.code = code
        """The text in a header's `dtype` field."""
        self.bits = bits
        """Width of one element in bits; 4 and 6 exist."""
        self.finite_max = finite_max
        """Largest finite magnitude; None for dtypes that are only copied."""

    @property
    def alignment_rank(self) -> int:
        """Position in the format's order; the data section goes from high to low."""
        return _RANKS[self]

    @property
    def is_arithmetic(self) -> bool:
        """Whether tensors of this dtype can be merged and cast; others are copied."""
        return self.finite_max is not None

    @property
    def mantissa_bits(self) -> int | None:
        """Bits of the significand that are stored; None where not arithmetic."""
        return _MANTISSA_BITS.get(self.code)

    @property
    def typical_snr_db(self) -> float | None:
        """What rounding normally distributed weights to this dtype leaves, in dB.

        It is reached when no value underflows; other distributions differ by a few
        tenths. Half the spacing of a binade of 2**p
        steps, root mean square over a normal distribution, is 6.02 p + 13.55 dB below
        the signal.
        """
        stored = self.mantissa_bits
        return None if stored is None else _DB_PER_BIT * stored + _DB_OF_NO_BITS

    @property
    def is_fp8(self) -> bool:
        """Whether this is one of the two 8-bit floats that consumers load."""
        return self in {Dtype.F8_E4M3, Dtype.F8_E5M2}


_DB_PER_BIT = 6.0206
_DB_OF_NO_BITS = 13.55
_MANTISSA_BITS = {
    "F64": 52,
    "F32": 23,
    "F16": 10,
    "BF16": 7,
    "F8_E4M3": 3,
    "F8_E5M2": 2,
}
_RANKS = {dtype: rank for rank, dtype in enumerate(Dtype)}
BY_CODE = {dtype.code: dtype for dtype in Dtype}
"""Every dtype a header may name, by its code."""
