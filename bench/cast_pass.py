"""A cast of one large tensor from memory to memory, on one thread.

Usage: cast_pass.py WAY MEMORY FROM TO, where WAY is torch or krelease, MEMORY is reused
or new, and the dtypes are codes such as F16. Prints the seconds of the fastest of some
casts, and a digest of the result.

torch casts by `copy_`, which is what `.to` does once it has memory for the result;
krelease by `widen` and `narrow` in chunks as long as the engine's. With reused memory
the result lies where an earlier one lay, as in the engine. With new memory it is
allocated within the time, as `.to` does it, and the kernel zeroes its pages: for torch
about a quarter of the time, for krelease most of it.
"""

import sys
import time
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from release.engine.kernel import CHUNK_ELEMENTS
from release.numeric.cast import TORCH_DTYPES, bytes_of, narrow, round_to, widen
from release.numeric.digest import xxh3_128
from release.numeric.dtype import BY_CODE, Dtype

N_ELEMENTS: Final = 32 * 1024 * 1024
N_CASTS: Final = 5


def cast_by_torch(source: Tensor, out: Tensor, dtype: Dtype) -> None:
    """Write `source` to `out`, which is of `dtype`, as torch does it."""
    del dtype
    out.copy_(source)


def cast_by_krelease(source: Tensor, out: Tensor, dtype: Dtype) -> None:
    """Write `source` to `out` by way of float32; fp8 is clamped to its range."""
    limit = dtype.finite_max if dtype.is_fp8 else None
    value = torch.empty(CHUNK_ELEMENTS, dtype=torch.float32)
    for start in range(0, len(source), CHUNK_ELEMENTS):
        read = source[start : start + CHUNK_ELEMENTS]
        chunk = value[: len(read)]
        widen(read, chunk)
        narrow(chunk, out[start : start + CHUNK_ELEMENTS], limit=limit)


WAYS: Final[dict[str, Callable[[Tensor, Tensor, Dtype], None]]] = {
    "torch": cast_by_torch,
    "krelease": cast_by_krelease,
}


def fastest(
    way: str, source: Tensor, dtype: Dtype, *, reuses: bool
) -> tuple[float, str]:
    """Return the seconds of the fastest of `N_CASTS` casts, and the result's digest."""
    out = torch.zeros(len(source), dtype=torch.uint8).to(TORCH_DTYPES[dtype])
    seconds = []
    for _ in range(N_CASTS):
        begin = time.perf_counter()
        if not reuses:
            out = torch.empty(len(source), dtype=TORCH_DTYPES[dtype])
        WAYS[way](source, out, dtype)
        seconds.append(time.perf_counter() - begin)
    return min(seconds), xxh3_128(bytes_of(out))


def main() -> None:
    """Cast, and print time and digest."""
    way, memory, before, after = sys.argv[1:]
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(N_ELEMENTS, generator=generator).mul_(0.02)
    source = round_to(weights, BY_CODE[before])
    print(*fastest(way, source, BY_CODE[after], reuses=memory == "reused"))


if __name__ == "__main__":
    main()
