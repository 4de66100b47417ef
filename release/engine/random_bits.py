"""Random bits as a pure function of a seed, a label and a position.

The generator is SplitMix64, used by its counter: the bits of element `i` are the
(i + 1)-th output of a SplitMix64 whose state began at the key. They need nothing of the
elements before, so that a tensor may be cut into chunks, or read twice, in any way. All
of it is integer arithmetic modulo 2**64, the same on every machine.

Source:
    G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number generators",
    OOPSLA 2014, figure 17 (constants of Stafford's variant 13).
"""

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from release.numeric.digest import sha256

BITS: Final = 64
"""Random bits of one element."""

Words: TypeAlias = NDArray[np.uint64]

_STEP: Final = 0x9E37_79B9_7F4A_7C15
_FIRST_FACTOR: Final = np.uint64(0xBF58_476D_1CE4_E5B9)
_SECOND_FACTOR: Final = np.uint64(0x94D0_49BB_1331_11EB)
_MASK: Final = 2**BITS - 1


def stream_key(seed: int, label: str) -> int:
    """Return the key of the stream that belongs to `seed` and `label`.

    The first 64 bits of SHA-256 over the seed in decimal, a zero byte and the label in
    UTF-8, so that neither nearby seeds nor nearby names give related streams.

    Args:
        seed: Any whole number.
        label: What the stream is for, such as a tensor name.
    """
    return int(sha256(f"{seed}\0{label}".encode("utf-8", "surrogatepass"))[:16], 16)


def random_bits(key: int, start: int, out: Words, scratch: Words) -> None:
    """Write the bits of elements `start`, `start + 1`, ... to `out`.

    Args:
        key: From `stream_key`, 0 to 2**64 - 1.
        start: First element.
        out: Flat; every word gets 64 bits.
        scratch: As long as `out`; overwritten.
    """
    first = (key + (start + 1) * _STEP) & _MASK
    out[:] = np.arange(out.size, dtype=np.uint64)
    np.multiply(out, np.uint64(_STEP), out=out)
    np.add(out, np.uint64(first), out=out)
    _fold(out, 30, scratch)
    np.multiply(out, _FIRST_FACTOR, out=out)
    _fold(out, 27, scratch)
    np.multiply(out, _SECOND_FACTOR, out=out)
    _fold(out, 31, scratch)


def _fold(words: Words, shift: int, scratch: Words) -> None:
    np.right_shift(words, np.uint64(shift), out=scratch)
    np.bitwise_xor(words, scratch, out=words)
