"""Stand-in ingredients: SDXL's true tensor names at reduced width, random values.

They take the place of ingredients that are not at hand in a rehearsal, in tests and in
benchmarks. The members of a family share most of their values, as checkpoints trained
from one another do, so that differences between them are small.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from release.architecture.sdxl import ArchitectureTensor, narrow_shape, sdxl_tensors
from release.formats.header import TensorEntry, TensorSpec, encode_header, lay_out
from release.formats.output import OutputFile
from release.metadata import STAND_IN_KEY, STAND_IN_TEXT
from release.numeric.cast import bytes_of, round_to
from release.numeric.digest import xxh3_64
from release.numeric.dtype import Dtype

_SHARED_STD: Final = 0.02
_OWN_STD: Final = 0.002
_BLOCK_ELEMENTS: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    file: OutputFile
    data_begin: int


def make_stand_ins(
    paths: Mapping[str, Path],
    *,
    divisor: int,
    dtype: Dtype = Dtype.F16,
    threads: int = 1,
    advance: Callable[[int], None] = lambda _: None,
) -> None:
    """Write one stand-in checkpoint for each name; all of them or none.

    Args:
        paths: Ingredient name -> file to write. Values depend on the name alone.
        divisor: What SDXL's widths are divided by; 1 is full size (6.94 GB in F16).
        dtype: Dtype of the float tensors.
        threads: Worker threads.
        advance: Called with bytes written, from any thread.

    Raises:
        OutputError: A target exists or cannot be written.
    """
    torch.set_num_threads(1)
    tensors = {tensor.name: tensor for tensor in sdxl_tensors()}
    entries = stand_in_layout(divisor, dtype)
    stopped = threading.Event()
    with ExitStack() as stack:
        members = [
            _begin(stack, name, path, entries) for name, path in sorted(paths.items())
        ]

        def fill(entry: TensorEntry) -> None:
            if not stopped.is_set():
                _fill(tensors[entry.name], entry, members)
                advance(entry.nbytes * len(members))

        with ThreadPoolExecutor(threads, "krelease-stand-in") as pool:
            try:
                for future in [pool.submit(fill, entry) for entry in entries]:
                    future.result()
            except BaseException:
                stopped.set()
                raise
        for member in members:
            member.file.publish()


def stand_in_layout(divisor: int, dtype: Dtype) -> tuple[TensorEntry, ...]:
    """Return the tensors of a stand-in: all canonical names, widths divided."""
    return lay_out(
        TensorSpec(
            tensor.name,
            dtype if tensor.dtype.is_arithmetic else tensor.dtype,
            narrow_shape(tensor, divisor),
        )
        for tensor in sdxl_tensors()
    )


def stand_in_nbytes(divisor: int, dtype: Dtype = Dtype.F16) -> int:
    """Return the size of one stand-in file in bytes."""
    entries = stand_in_layout(divisor, dtype)
    return len(_header(entries)) + entries[-1].end


def _header(entries: tuple[TensorEntry, ...]) -> bytes:
    return encode_header({"format": "pt", STAND_IN_KEY: STAND_IN_TEXT}, entries)


def _begin(
    stack: ExitStack, name: str, path: Path, entries: tuple[TensorEntry, ...]
) -> _Member:
    header = _header(entries)
    nbytes = len(header) + entries[-1].end
    file = stack.enter_context(OutputFile.create(path, nbytes))
    file.write_at(0, header)
    return _Member(name, file, len(header))


def _fill(
    tensor: ArchitectureTensor, entry: TensorEntry, members: list[_Member]
) -> None:
    for start in range(0, entry.n_elements, _BLOCK_ELEMENTS):
        count = min(_BLOCK_ELEMENTS, entry.n_elements - start)
        shared = _noise(f"{tensor.name}/{start}", count).mul_(_SHARED_STD)
        for member in members:
            values = _values(tensor, entry, start, shared, member.name)
            offset = member.data_begin + entry.begin + start * entry.dtype.bits // 8
            member.file.write_at(offset, bytes_of(values))


def _values(
    tensor: ArchitectureTensor,
    entry: TensorEntry,
    start: int,
    shared: Tensor,
    member_name: str,
) -> Tensor:
    count = shared.numel()
    if not entry.dtype.is_arithmetic:  # position_ids: 0, 1, 2, ...
        return torch.arange(start, start + count)
    own = _noise(f"{member_name}/{tensor.name}/{start}", count).mul_(_OWN_STD)
    own.add_(shared)
    if len(entry.shape) < 2 and tensor.name.endswith(".weight"):  # scale of a norm
        own.add_(1.0)
    return round_to(own, entry.dtype)


def _noise(key: str, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(int(xxh3_64(key.encode()), 16) >> 1)
    return torch.randn(count, generator=generator)
