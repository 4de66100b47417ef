"""What the values of a checkpoint say: NaN, infinity, nothing but zeros.

Values are looked at as raw bits, block by block, beside or within any other reading of
the data; for every dtype this is faster than the reading itself.

Source:
    IEEE 754-2019, section 3.4 (binary16, 32 and 64); OCP 8-bit Floating Point
    Specification 1.0, section 5 (e4m3 has no infinity); bfloat16 is the upper half of a
    binary32.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from release.architecture.sdxl import is_schedule_buffer
from release.errors import first_names, visible
from release.formats.checkpoint import Checkpoint
from release.formats.tensor import TensorEntry
from release.inspection.position_ids import position_ids_of
from release.numeric.digest import Bytes
from release.numeric.dtype import Dtype
from release.verify.finding import Finding, Severity


@dataclass(frozen=True, slots=True)
class _Bits:
    """How a dtype spells what is no number.

    Attributes:
        nbytes: Of one element; its top bit is the sign.
        infinity: Bits of infinity without the sign; None where there is none.
        largest: Bits of the largest number without the sign; NaN is above both.
    """

    nbytes: int
    infinity: int | None
    largest: int

    @property
    def sign(self) -> int:
        return 1 << (8 * self.nbytes - 1)


_BITS: Final = {
    Dtype.F64: _Bits(8, 0x7FF << 52, (0x7FF << 52) - 1),
    Dtype.F32: _Bits(4, 0x7F800000, 0x7F7FFFFF),
    Dtype.BF16: _Bits(2, 0x7F80, 0x7F7F),
    Dtype.F16: _Bits(2, 0x7C00, 0x7BFF),
    Dtype.F8_E5M2: _Bits(1, 0x7C, 0x7B),
    Dtype.F8_E4M3: _Bits(1, None, 0x7E),
}


class TensorValues:
    """What the values of one tensor are, told from a stream of its bytes.

    Blocks of any size may follow one another. Dtypes that hold no floating-point
    numbers are counted as nothing.

    Args:
        dtype: Of the elements.

    Attributes:
        n_nan: Elements that are NaN.
        n_infinite: Elements that are infinite.
        is_zero: Whether every element so far is zero, of either sign.
    """

    def __init__(self, dtype: Dtype) -> None:
        self.n_nan = 0
        self.n_infinite = 0
        self.is_zero = True
        self._bits = _BITS.get(dtype)
        self._rest = bytearray()

    def update(self, data: Bytes) -> None:
        """Append `data` to the stream."""
        if self._bits is None:
            return
        block, nbytes = memoryview(data).cast("B"), self._bits.nbytes
        if self._rest:  # an element that the block before has cut
            missing = nbytes - len(self._rest)
            self._rest += block[:missing]
            block = block[missing:]
            if len(self._rest) < nbytes:
                return
            self._look(self._bits, bytes(self._rest))
        whole = len(block) // nbytes * nbytes
        if whole:
            self._look(self._bits, block[:whole])
        self._rest = bytearray(block[whole:])

    def _look(self, bits: _Bits, block: Bytes) -> None:
        """Look at whole elements.

        The largest as signed is the largest without a sign bit, the largest as unsigned
        the one of greatest magnitude with it: two passes, and nothing is written.
        """
        unsigned = np.frombuffer(block, f"<u{bits.nbytes}")
        positive = int(unsigned.view(f"<i{bits.nbytes}").max())
        negative = int(unsigned.max()) - bits.sign
        largest = max(positive, negative)
        self.is_zero = self.is_zero and largest <= 0
        if largest > bits.largest:
            magnitudes = unsigned & unsigned.dtype.type(bits.sign - 1)
            n_beyond = int(np.count_nonzero(magnitudes > bits.largest))
            n_infinite = 0
            if bits.infinity is not None:
                n_infinite = int(np.count_nonzero(magnitudes == bits.infinity))
            self.n_infinite += n_infinite
            self.n_nan += n_beyond - n_infinite


def findings_of(
    values: Mapping[str, TensorValues], entries: Iterable[TensorEntry]
) -> tuple[Finding, ...]:
    """Return what values that were looked at say, each kind of oddity once.

    Args:
        values: Tensor name -> its values, whole; tensors that are missing here are not
            spoken of.
        entries: The tensors, in the order in which they are named.
    """
    known = [(each, values[each.name]) for each in entries if each.name in values]
    nan = [(each, found.n_nan) for each, found in known if found.n_nan]
    infinite = [(each, found.n_infinite) for each, found in known if found.n_infinite]
    zero = [
        each
        for each, found in known
        if each.n_elements and each.dtype in _BITS and found.is_zero
    ]
    in_weights = [pair for pair in infinite if not is_schedule_buffer(pair[0].name)]
    in_schedule = [pair for pair in infinite if is_schedule_buffer(pair[0].name)]
    groups = (
        _counted("nan", "error", "NaN", nan),
        _counted("infinity", "error", "infinite", in_weights),
        _counted(
            "infinite-schedule",
            "note",
            "infinite in noise schedules, as they are where the last step is all noise",
            in_schedule,
        ),
        _zero_weights([each for each in zero if _is_weight(each)]),
        _zero_vectors([each for each in zero if not _is_weight(each)]),
    )
    return tuple(finding for finding in groups if finding is not None)


def position_findings(checkpoint: Checkpoint) -> tuple[Finding, ...]:
    """Return what is wrong with `position_ids`, which must hold 0, 1, 2 ... in order.

    Raises:
        InputError: The file changed or cannot be read.
    """
    return tuple(
        Finding(
            "position-ids",
            "error",
            f"{each.detail} in {visible(each.name)}, stored as {each.dtype}: programs "
            f"that use them misread prompts",
            (each.name,),
        )
        for each in position_ids_of(checkpoint)
        if not each.is_right
    )


def _is_weight(entry: TensorEntry) -> bool:
    """Return whether a tensor has two dimensions or more that are not 1.

    Biases, norms' shifts and LoRA's alphas are vectors or scalars: many begin as zeros,
    and some stay so. Training leaves no whole matrix or kernel at zero.
    """
    return sum(size > 1 for size in entry.shape) > 1


def _counted(
    code: str, severity: Severity, what: str, found: list[tuple[TensorEntry, int]]
) -> Finding | None:
    if not found:
        return None
    names = tuple(entry.name for entry, _ in found)
    n_values = sum(count for _, count in found)
    values = "1 value is" if n_values == 1 else f"{n_values:,} values are"
    return Finding(
        code,
        severity,
        f"{values} {what}, in {_tensors(len(names))}: {first_names(names)}",
        names,
    )


def _zero_weights(found: list[TensorEntry]) -> Finding | None:
    if not found:
        return None
    names = tuple(entry.name for entry in found)
    holds = "holds" if len(names) == 1 else "hold"
    return Finding(
        "all-zero-weights",
        "warning",
        f"{_tensors(len(names))} of weights {holds} nothing but zeros, as after a "
        f"failed download or where a program filled in what was missing: "
        f"{first_names(names)}",
        names,
    )


def _zero_vectors(found: list[TensorEntry]) -> Finding | None:
    if not found:
        return None
    names = tuple(entry.name for entry in found)
    holds = "holds" if len(names) == 1 else "hold"
    return Finding(
        "all-zero-vectors",
        "note",
        f"{_tensors(len(names))} of one dimension or one value {holds} nothing but "
        f"zeros, as biases may: {first_names(names)}",
        names,
    )


def _tensors(count: int) -> str:
    return "1 tensor" if count == 1 else f"{count:,} tensors"
