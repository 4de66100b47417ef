"""Which elements of a tensor are looked at when not all of them are.

The same for everybody who audits the same file: they depend on the tensor's name and
size alone.
"""

from typing import Final

from release.engine.sample import RUN_ELEMENTS, Run
from release.numeric.digest import xxh3_64

WHOLE_ELEMENTS: Final = 4096
"""Tensors of up to so many elements are read whole; most are."""

GROUP_ELEMENTS: Final = 20_480
"""What a group of tensors should have in its sample, if it has so many: enough for
coefficients to about 0.0001 where differences are a tenth of the weights."""

_RUN: Final = 1024
"""Elements of a run: 2 KiB of F16, as quick to read as one of them."""
_RUNS_MIN: Final = 4
_RUNS_MAX: Final = 20


def sample_runs(name: str, n_elements: int, *, n_large: int) -> tuple[Run, ...]:
    """Return the runs of a tensor that are read, in order, none overlapping.

    A run lies at a pseudo-random place in each of as many equal parts of the tensor.

    Args:
        name: Of the tensor.
        n_elements: Its elements.
        n_large: Tensors beyond `WHOLE_ELEMENTS` in its group; few are read more of.
    """
    if n_elements <= WHOLE_ELEMENTS:
        return tuple(
            (start, min(RUN_ELEMENTS, n_elements - start))
            for start in range(0, n_elements, RUN_ELEMENTS)
        )
    wanted = -(-GROUP_ELEMENTS // (_RUN * max(1, n_large)))
    n_runs = min(max(wanted, _RUNS_MIN), _RUNS_MAX, n_elements // _RUN)
    part = n_elements // n_runs
    return tuple(
        (at * part + _jitter(name, at, part - _RUN + 1), _RUN) for at in range(n_runs)
    )


def _jitter(name: str, at: int, below: int) -> int:
    return int(xxh3_64(f"{at}/{name}".encode("utf-8", "surrogatepass")), 16) % below
