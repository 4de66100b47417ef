"""One tensor's way to one output: round, write, hash, measure."""

import math
import struct
from typing import Protocol

import torch
from torch import Tensor

from release.engine.jobs import Companions, Target
from release.engine.measure import Chunk, measure
from release.engine.results import Deviation, Written
from release.numeric.cast import TORCH_DTYPES, bytes_of, narrow
from release.numeric.digest import Xxh3Bits128, xxh3_128
from release.numeric.dtype import Dtype

_WIDE = {Dtype.F32, Dtype.F64}
"""Targets rounded from the float64 result itself, not by way of float32."""


class Sink(Protocol):
    """Where results go: a file that is written, or one that is compared with them."""

    def write_at(self, offset: int, data: memoryview | bytes) -> None:
        """Take all of `data` for the place at `offset` bytes."""


class TargetWriter:
    """Takes the chunks of one tensor, in order, to one target.

    Args:
        target: Where the tensor goes.
        n_elements: Elements of the tensor.
        file: The output that `target` refers to; None writes nothing.
        chunk_elements: Elements of the longest chunk.
        scratch: Flat float32, as long as a chunk, overwritten.
    """

    def __init__(
        self,
        target: Target,
        n_elements: int,
        *,
        file: Sink | None,
        chunk_elements: int,
        scratch: Tensor,
    ) -> None:
        self.target = target
        self._deviation = Deviation(n_elements)
        self._companions: dict[str, str] = {}
        self._file = file
        self._digest = Xxh3Bits128()
        self._scratch = scratch
        self._rounded = torch.empty(
            min(chunk_elements, n_elements), dtype=TORCH_DTYPES[target.dtype]
        )
        self._limit = target.dtype.finite_max if target.clamps else None
        self._scale = 1.0

    def write_companions(self, greatest: float) -> None:
        """Choose the scale of a scaled target and write it, and its marker.

        Args:
            greatest: The greatest magnitude in the whole tensor.
        """
        companions, limit = self.target.companions, self.target.dtype.finite_max
        if companions is None or limit is None:
            return
        self._scale = _scale(greatest, limit)
        self._write_companions(companions, struct.pack("<f", self._scale))

    def write(self, chunk: Chunk) -> None:
        """Round a chunk and write it to its place."""
        count = chunk.value.numel()
        if (
            self._scale == 1.0
            and chunk.source is not None
            and chunk.source.dtype is self._rounded.dtype
        ):
            payload = bytes_of(chunk.source)
            self._deviation.square_sum += chunk.square_sum
        else:
            out = self._rounded[:count]
            self._round(chunk, out)
            payload = bytes_of(out)
            measure(
                chunk,
                out,
                self._scratch[:count],
                into=self._deviation,
                limit=self._limit,
                scale=self._scale,
            )
        self._digest.update(payload)
        if self._file is not None:
            width = self._rounded.element_size()
            self._file.write_at(self.target.offset + chunk.start * width, payload)

    def result(self) -> Written:
        """Return what is known of the tensor after its last chunk."""
        return Written(
            name=self.target.name,
            digest=self._digest.hexdigest(),
            deviation=self._deviation,
            companions=self._companions,
        )

    @property
    def overflowed(self) -> str:
        """What a value became infinite beyond; empty if none did."""
        if not math.isinf(self._deviation.max_abs_error):
            return ""
        return f"{self.target.dtype.code}'s {self.target.dtype.finite_max:.6g}"

    def _round(self, chunk: Chunk, out: Tensor) -> None:
        if chunk.exact is not None and self.target.dtype in _WIDE:
            out.copy_(chunk.exact)
            return
        value = chunk.value
        if self._scale != 1.0:
            value = self._scratch[: out.numel()]
            torch.div(chunk.value, self._scale, out=value)
            narrow(value, out, limit=self._limit)
            return
        is_beyond = self._limit is not None and chunk.reaches(self._limit)
        narrow(value, out, limit=self._limit if is_beyond else None)

    def _write_companions(self, companions: Companions, scale: bytes) -> None:
        for name, offset, payload in (
            (companions.scale, companions.scale_offset, scale),
            (companions.marker, companions.marker_offset, companions.marker_text),
        ):
            if self._file is not None:
                self._file.write_at(offset, payload)
            self._companions[name] = xxh3_128(payload)


def _scale(greatest: float, limit: float) -> float:
    """Return the float32 that brings `greatest` to `limit`; 1 for a tensor of zeros."""
    packed: float = struct.unpack("<f", struct.pack("<f", greatest / limit))[0]
    return packed if packed > 0.0 and math.isfinite(packed) else 1.0
