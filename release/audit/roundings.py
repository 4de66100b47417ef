"""Which arithmetic gives the values of a file that has the right coefficients."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from release.audit.arithmetic import ARITHMETICS, Arithmetic, Calculator
from release.audit.question import Question
from release.audit.samples import Sampled, Samples
from release.numeric.grid import grid_of

_MATCH_MIN: Final = 0.98
"""Share of values that an arithmetic must give exactly to be named."""
_TRIED: Final = 48
"""Tensors that arithmetics are tried on."""


def best_arithmetic(
    pile: Sequence[Sampled], question: Question, samples: Samples
) -> tuple[Arithmetic | None, float]:
    """Return the arithmetic that gives most values, if it gives nearly all; the share.

    Args:
        pile: Tensors with the declared coefficients; at least one.
        question: Its recipe as it was written is what is computed.
        samples: To look again.
    """
    recipe, text = question.recipe, question.text
    if recipe is None or text is None or recipe.methods:
        return None, 0.0
    n_equal, n = [0] * len(ARITHMETICS), 0
    for each in pile[:: -(-len(pile) // _TRIED)]:
        task, values = each.task, samples.read(each.task)
        calculator = Calculator(text, recipe.convention, grid_of(task.file_dtype))
        models = dict(zip(samples.columns.names, values.x, strict=True))
        for name in text.ingredients.keys() - models.keys():
            models[name] = np.zeros(values.stored.size)
        for at, arithmetic in enumerate(ARITHMETICS):
            result = calculator.compute(arithmetic, models, task.group.cell)
            n_equal[at] += values.tally(result).n_equal
        n += values.stored.size
    best = int(np.argmax(n_equal))
    share = n_equal[best] / max(1, n)
    return (ARITHMETICS[best] if share >= _MATCH_MIN else None), share
