"""Coefficients in words: found ones with their errors, declared ones exact."""

import math
from collections.abc import Mapping, Sequence

from release.audit.fit import Coefficient
from release.audit.samples import Sampled
from release.recipe.decimals import decimal_text


def number_text(value: float, error: float) -> str:
    """Return a coefficient with its error, to the digits that the error leaves."""
    if error <= 0 or not math.isfinite(error):
        return f"{value:.8g}"
    digits = min(8, max(0, -math.floor(math.log10(error))))
    shown = f"{value:.{digits}f}"
    if float(shown) == 0:
        shown = shown.lstrip("-")
    return f"{shown} ± {error:.{digits}f}"


def coefficient_text(found: Coefficient) -> str:
    """Return a coefficient as a clause, such as "anxl3 0.80000 ± 0.00002"."""
    names = " = ".join(found.names)
    if found.value is None or found.error is None:
        return f"{names} not determined"
    together = " (the same values, only their sum shows)" if found.names[1:] else ""
    return f"{names} {number_text(found.value, found.error)}{together}"


def declared_text(pile: Sequence[Sampled]) -> Mapping[str, str]:
    """Return the declared coefficients, if all tensors have the same."""
    rows = [each.task.declared for each in pile]
    first = rows[0] if rows else None
    if first is None or any(row != first for row in rows):
        return {}
    return {name: decimal_text(value) for name, value in first.items()}


def cast_text(pile: Sequence[Sampled]) -> str:
    """Return what tensors were rounded to, in turn: "F16 first, then F8_E4M3"."""
    tasks = [each.task for each in pile]
    first = " or ".join(sorted({task.file_dtype.code for task in tasks}))
    dtypes = " or ".join(sorted({task.dtype.code for task in tasks}))
    scale = " with a scale" if any(task.operand.scale for task in tasks) else ""
    return f"{first} first, then {dtypes}{scale}"
