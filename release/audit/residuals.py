"""What the best sums of the ingredients leave of tensors that they do not explain."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from release.audit.samples import Sampled, Samples

_MEASURED: Final = 48
"""Tensors that residuals are measured on."""


def residual_rms(
    pile: Sequence[Sampled], samples: Samples
) -> tuple[float, float] | None:
    """Return the root mean squares of what is left, and of the values themselves.

    Args:
        pile: Tensors; each is fitted alone.
        samples: To look again.

    Returns:
        None where no tensor has enough values.
    """
    n_unknowns = len(samples.columns.names)
    left = total = 0.0
    n = 0
    for each in pile[:: -(-len(pile) // _MEASURED)]:
        if each.moments is not None and each.n_sampled > 2 * n_unknowns:
            values = samples.read(each.task)
            y = values.y
            best = np.linalg.lstsq(values.x.T, y, rcond=None)[0]
            left += float(((y - values.x.T @ best) ** 2).sum())
            total += float((y**2).sum())
            n += y.size
    return (float(np.sqrt(left / n)), float(np.sqrt(total / n))) if n else None
