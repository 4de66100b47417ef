"""Exact casts between the float dtypes, fast on a CPU.

Every cast here rounds once, to nearest, ties to even. Two facts shape the module:

* Widening to float32 is exact for every dtype of 16 bits or fewer.
* A float64 rounded *to odd* at float32's precision can be rounded again to any dtype of
  16 bits or fewer with the result of a single rounding, because float32 keeps more than
  two bits beyond the target's precision. `sticky_float32` makes that float32.

So a value is brought to float32 once, and each variant is rounded from it. torch's own
casts from and to the 8-bit dtypes are right, but slow when the other side is 16 bits
wide; here float32 stands between, and fp8 is widened by moving its bits.

Source:
    S. Boldo, G. Melquiond, "Emulation of FMA and correctly rounded sums: proved
    algorithms using rounding to odd", IEEE Trans. Comput. 57(4), 2008.
    OCP 8-bit Floating Point Specification v1.0, section 5 (bit layouts).
"""

from typing import Final

import torch
from torch import Tensor

from release.numeric.dtype import Dtype

TORCH_DTYPES: Final[dict[Dtype, torch.dtype]] = {
    Dtype.F64: torch.float64,
    Dtype.F32: torch.float32,
    Dtype.F16: torch.float16,
    Dtype.BF16: torch.bfloat16,
    Dtype.F8_E4M3: torch.float8_e4m3fn,
    Dtype.F8_E5M2: torch.float8_e5m2,
}
"""torch's dtype for every arithmetic dtype."""

NUMBER_DTYPES: Final[dict[Dtype, torch.dtype]] = {
    **TORCH_DTYPES,
    Dtype.I64: torch.int64,
    Dtype.I32: torch.int32,
    Dtype.I16: torch.int16,
    Dtype.I8: torch.int8,
    Dtype.U8: torch.uint8,
}
"""The same, and the integers that torch computes with."""

_FLOAT32_DROPPED: Final = (1 << 29) - 1
"""The mantissa bits that float64 has beyond float32."""
_FLOAT32_EXPONENT: Final = 0x7F800000
_E4M3_NAN: Final = 0x7F
_E4M3_IN_FLOAT32: Final = -0x7810_0000
"""0x87F00000 as int32: the sign, four exponent and three mantissa bits."""


def bytes_of(tensor: Tensor) -> memoryview:
    """Return the memory of a flat, contiguous tensor, shared and writable."""
    return tensor.view(torch.uint8).numpy().data


def round_to(source: Tensor, dtype: Dtype) -> Tensor:
    """Return `source` rounded once to `dtype`, to nearest, ties to even.

    Args:
        source: Any shape, of an arithmetic dtype. Not modified.
        dtype: Target. For fp8, values beyond the finite range, infinities included, are
            clamped to it; NaN stays NaN. For the others they become infinite, as IEEE
            754 says. The dtype of `source` itself gives a copy, bit for bit.

    Returns:
        Same shape as `source`, contiguous, newly allocated.
    """
    flat = source.contiguous().view(-1)
    out = torch.empty_like(flat, dtype=TORCH_DTYPES[dtype])
    if flat.dtype == out.dtype:
        out.copy_(flat)
    elif dtype is Dtype.F64:
        widen(flat, out)
    elif flat.dtype == torch.float64 and dtype is Dtype.F32:
        out.copy_(flat)
    else:
        value = torch.empty_like(flat, dtype=torch.float32)
        if flat.dtype == torch.float64:
            odd_float32(flat, value)
        else:
            widen(flat, value)
        narrow(value, out, limit=dtype.finite_max if dtype.is_fp8 else None)
    return out.view(source.shape)


def widen(source: Tensor, out: Tensor, *, has_nan: bool = True) -> None:
    """Write the values of `source` to `out` exactly.

    Args:
        source: Flat, F8, F16, BF16 or F32 (F64 when `out` is float64).
        out: Flat, same length, float32 or float64.
        has_nan: False where `source` is known to hold no NaN, which E4M3 would
            otherwise be searched for.
    """
    if out.dtype == torch.float64 and source.dtype not in {
        torch.float64,
        torch.float32,
    }:
        value = torch.empty_like(source, dtype=torch.float32)
        widen(source, value)
        out.copy_(value)
    elif source.dtype == torch.float8_e4m3fn:
        _widen_e4m3(source, out, has_nan=has_nan)
    elif source.dtype == torch.float8_e5m2:
        # E5M2 is the upper byte of a float16.
        bits = source.view(torch.int8).to(torch.int16).bitwise_left_shift_(8)
        out.copy_(bits.view(torch.float16))
    else:
        out.copy_(source)


def _widen_e4m3(source: Tensor, out: Tensor, *, has_nan: bool) -> None:
    codes = source.view(torch.int8)
    bits = out.view(torch.int32)
    bits.copy_(codes)
    # Sign extension has filled the upper bits: keep the sign, put exponent and mantissa
    # where float32 has them, then correct the exponent's bias (127 - 7).
    bits.bitwise_left_shift_(20).bitwise_and_(_E4M3_IN_FLOAT32)
    out.mul_(2.0**120)
    if has_nan and int((codes & _E4M3_NAN).max()) == _E4M3_NAN:
        out.masked_fill_((codes & _E4M3_NAN) == _E4M3_NAN, float("nan"))


def sticky_float32(source: Tensor, out: Tensor, scratch: Tensor) -> None:
    """Write `source` to `out` rounded to odd at float32's precision.

    Inexact values get an odd last bit, so a later rounding to 16 bits or fewer sees on
    which side of a tie they lie. Magnitudes below 2**-126 are rounded to nearest
    instead (see `mend_subnormals`).

    Args:
        source: Flat float64. Not modified.
        out: Flat float32, same length.
        scratch: Flat int64, same length, overwritten.
    """
    bits = source.view(torch.int64)
    torch.bitwise_and(bits, _FLOAT32_DROPPED, out=scratch)
    # A carry into float32's last bit arises exactly when a dropped bit was set.
    scratch.add_(_FLOAT32_DROPPED).bitwise_or_(bits).bitwise_and_(~_FLOAT32_DROPPED)
    out.copy_(scratch.view(torch.float64))


def odd_float32(source: Tensor, out: Tensor) -> None:
    """Write `source` to `out` rounded to odd at float32's precision, whatever its size.

    Args:
        source: Flat float64. Not modified.
        out: Flat float32, same length.
    """
    sticky_float32(source, out, torch.empty_like(source, dtype=torch.int64))
    mend_subnormals(source, out)


def mend_subnormals(source: Tensor, value: Tensor) -> None:
    """Round to odd those elements of `value` that float32 holds as subnormals.

    Only BF16 is narrow and wide-ranged enough for the difference to show.

    Args:
        source: Flat float64, what `value` was made from.
        value: Flat float32 from `sticky_float32`, changed in place.
    """
    bits = value.view(torch.int32)
    tiny = (bits & _FLOAT32_EXPONENT) == 0
    if not bool(tiny.any()):
        return
    steps = source[tiny].abs().mul_(2.0**149)  # in units of the smallest subnormal
    whole = steps.to(torch.int64)
    odd = whole | (whole.to(torch.float64) != steps).to(torch.int64)
    sign = torch.signbit(source[tiny]).to(torch.int64).neg_().bitwise_left_shift_(31)
    bits[tiny] = (odd | sign).to(torch.int32)


def narrow(value: Tensor, out: Tensor, *, limit: float | None = None) -> None:
    """Round float32 `value` into `out`, once, to nearest, ties to even.

    Args:
        value: Flat float32. Not modified.
        out: Flat, same length, F32, F16, BF16 or F8.
        limit: Magnitudes beyond it become it. None where there are none, or where they
            shall become infinite; how fp8 treats them then depends on torch's version.
    """
    out.copy_(value if limit is None else value.clamp(-limit, limit))
