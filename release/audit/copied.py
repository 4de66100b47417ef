"""Tensors that a merge copies: positions, markers, schedules; and what they give away.

Positions are 0, 1, 2, ... in every model. A program that merges them like weights
leaves them times the sum of its coefficients, which is a coefficient that can be read
without any ingredient.
"""

from collections.abc import Sequence
from typing import Final

from release.architecture.sdxl import is_copied
from release.audit.report import Finding
from release.audit.verdict import Verdict
from release.engine.jobs import Operand, TensorJob
from release.engine.plan import Ingredient
from release.errors import visible
from release.formats.checkpoint import Checkpoint
from release.formats.tensor import TensorEntry
from release.inspection.position_ids import position_values

_BLOCK_NBYTES: Final = 1024 * 1024
_SUM_TOLERANCE: Final = 1e-3


def compare_copied(
    subject: Ingredient,
    ingredients: Sequence[Ingredient],
    jobs: Sequence[TensorJob],
    *,
    origin: str,
) -> tuple[list[Finding], list[TensorEntry]]:
    """Return what differs of copied tensors, and those that do not differ.

    Args:
        subject: The file.
        ingredients: What operands refer to by number.
        jobs: All tensors; their operands are what may have been copied.
        origin: The ingredient that they must be copied from; "" for any. If it is not
            at hand, only positions are looked at.

    Raises:
        InputError: A file changed or cannot be read.
    """
    checkpoint = subject.checkpoint
    findings, equal = [], []
    for job in jobs:
        entry = checkpoint.tensors.get(job.name)
        if entry is None or not job.operands or not is_copied(entry.name, entry.dtype):
            continue
        sources = [
            each
            for each in job.operands
            if ingredients[each.ingredient].name == origin or not origin
        ]
        detail = ""
        if not any(_is_copy(checkpoint, entry, ingredients, each) for each in sources):
            detail = f"not the bytes of {origin or 'any ingredient'}"
            if entry.name.endswith("position_ids"):
                detail = _positions(checkpoint, entry)
            elif not sources:
                continue
        if detail:
            shown = visible(entry.name)
            findings.append(Finding(Verdict.BUFFERS, shown, (entry.name,), detail, {}))
        else:
            equal.append(entry)
    return findings, equal


def _is_copy(
    checkpoint: Checkpoint,
    entry: TensorEntry,
    ingredients: Sequence[Ingredient],
    source: Operand,
) -> bool:
    other = ingredients[source.ingredient].checkpoint
    return _is_equal(checkpoint, entry, other, source.entry)


def _positions(checkpoint: Checkpoint, entry: TensorEntry) -> str:
    """Return what is wrong with positions; nothing if only their dtype differs."""
    values = position_values(checkpoint, entry)
    if not values:
        return "holds no positions"
    wrong = sum(value != at for at, value in enumerate(values))
    if not wrong:
        return ""
    squares = sum(at * at for at in range(len(values)))
    total = sum(at * value for at, value in enumerate(values)) / max(1, squares)
    is_multiple = all(
        abs(value - total * at) <= 1 + _SUM_TOLERANCE * abs(total) * at
        for at, value in enumerate(values)
    )
    if not is_multiple:
        return f"{wrong} of {len(values)} positions are wrong"
    return (
        f"reads {total:.4g} times 0 to {len(values) - 1}: it was merged like a weight,"
        f" with coefficients that sum to {total:.4g}"
    )


def _is_equal(
    one: Checkpoint, entry: TensorEntry, other: Checkpoint, source: TensorEntry
) -> bool:
    if entry.dtype is not source.dtype or entry.shape != source.shape:
        return False
    for offset in range(0, entry.nbytes, _BLOCK_NBYTES):
        size = min(_BLOCK_NBYTES, entry.nbytes - offset)
        ours, theirs = bytearray(size), bytearray(size)
        one.read_into(entry, offset, memoryview(ours))
        other.read_into(source, offset, memoryview(theirs))
        if ours != theirs:
            return False
    return True
