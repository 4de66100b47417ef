"""The families of LoRA and LyCORIS: which factors belong together, and in which shapes.

With s = alpha / rank, the change of a weight is

    LoRA, LoCon     s * up @ down
    ... with a core s * up @ down', where down' is the core applied to down
    LoHa            s * (w1_a @ w1_b) * (w2_a @ w2_b), element by element
    LoKr            s * kron(w1, w2), where each may itself be a product
    full            diff, as it stands

A file without alpha means alpha = rank, and so does a LoKr of two whole matrices.

Source:
    KohakuBlueleaf/LyCORIS, `functional/{locon,loha,lokr}.py`, and ComfyUI,
    `comfy/weight_adapter/`. LyCORIS 4.1.3's own merge multiplies LoHa and LoKr by s
    twice (`get_diff_weight`), unlike its training and unlike ComfyUI; s is used once.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from release.formats.lora.factor_check import FactorCheck, Shape
from release.formats.lora.modules import Module
from release.formats.lora.roles import Role

RANK_MAX: Final = 4096
"""Largest rank; weights of image models have at most 10,240 rows, so that a higher one
saves nothing over the full difference."""


class Family(Enum):
    """How the factors of a weight make its change."""

    LORA = "LoRA"
    LOHA = "LoHa"
    LOKR = "LoKr"
    FULL = "full difference"


@dataclass(frozen=True, slots=True)
class WeightChange:
    """The change of one module's weight, checked.

    Attributes:
        module: Where the factors are.
        family: How they are put together.
        shape: Of the change; the kernel of a convolution may be flattened into the
            columns.
        rank: What alpha is divided by; 0 if alpha has no say.
    """

    module: Module
    family: Family
    shape: Shape
    rank: int


_FAMILY_OF: Final = {
    Role.UP: Family.LORA,
    Role.DOWN: Family.LORA,
    Role.MID: Family.LORA,
    Role.HADA_W1_A: Family.LOHA,
    Role.HADA_W1_B: Family.LOHA,
    Role.HADA_W2_A: Family.LOHA,
    Role.HADA_W2_B: Family.LOHA,
    Role.HADA_T1: Family.LOHA,
    Role.HADA_T2: Family.LOHA,
    Role.LOKR_W1: Family.LOKR,
    Role.LOKR_W1_A: Family.LOKR,
    Role.LOKR_W1_B: Family.LOKR,
    Role.LOKR_W2: Family.LOKR,
    Role.LOKR_W2_A: Family.LOKR,
    Role.LOKR_W2_B: Family.LOKR,
    Role.LOKR_T2: Family.LOKR,
    Role.DIFF: Family.FULL,
}

_LORA_ROLES: Final = (Role.UP, Role.DOWN)
_LOHA_ROLES: Final = (
    Role.HADA_W1_A,
    Role.HADA_W1_B,
    Role.HADA_W2_A,
    Role.HADA_W2_B,
)
_LOKR_W1: Final = (Role.LOKR_W1_A, Role.LOKR_W1_B)
_LOKR_W2: Final = (Role.LOKR_W2_A, Role.LOKR_W2_B)


def weight_change(path: Path, module: Module) -> WeightChange | None:
    """Return what a module changes of its weight; None if only its bias changes.

    Raises:
        TensorMismatchError: `lora-incomplete` for a factor that is missing or one too
            many, factors of two families, or an alpha of nothing.
        ShapeError: `lora-shape` for factors that do not fit together, `lora-rank` for
            a rank beyond `RANK_MAX`.
        DtypeError: `lora-dtype`.
    """
    check = FactorCheck(path, module)
    check.dtypes()
    families = {_FAMILY_OF[role] for role in module.tensors if role in _FAMILY_OF}
    if len(families) > 1:
        names = " and ".join(sorted(family.value for family in families))
        raise check.incomplete(f"has factors of {names}, expected one family")
    if not families:
        if Role.ALPHA in module.tensors:
            raise check.incomplete("has an alpha and no factors")
        return None
    family = families.pop()
    shape, rank = _READINGS[family](check)
    if rank > RANK_MAX:
        raise check.too_high(rank, RANK_MAX)
    return WeightChange(module, family, shape, rank)


def _full(check: FactorCheck) -> tuple[Shape, int]:
    if check.has(Role.ALPHA):
        raise check.incomplete("has an alpha beside its full difference")
    return check.shape(Role.DIFF), 0


def _lora(check: FactorCheck) -> tuple[Shape, int]:
    check.need(*_LORA_ROLES)
    rows, rank = check.plain(Role.UP)
    if check.has(Role.MID):
        columns = _core(check, Role.MID, (Role.DOWN, rank), rank)
        return (rows, *columns), rank
    down_rank, columns_in, kernel = check.kernel(Role.DOWN)
    check.equal(Role.DOWN, down_rank, rank, "rank")
    return (rows, columns_in, *kernel), rank


def _core(
    check: FactorCheck, core: Role, right: tuple[Role, int], left_rank: int
) -> tuple[int, ...]:
    """Return the columns and kernel of a core between two factors of one rank."""
    role, rank = right
    first, second, kernel = check.kernel(core)
    check.equal(core, first, left_rank, "first dimension")
    check.equal(core, second, rank, "second dimension")
    right_rank, columns = check.plain(role)
    check.equal(role, right_rank, rank, "rank")
    return (columns, *kernel)


def _loha(check: FactorCheck) -> tuple[Shape, int]:
    check.need(*_LOHA_ROLES)
    first, rank = _hada_half(
        check, (Role.HADA_W1_A, Role.HADA_W1_B, Role.HADA_T1), Role.HADA_T2
    )
    second, second_rank = _hada_half(
        check, (Role.HADA_W2_A, Role.HADA_W2_B, Role.HADA_T2), Role.HADA_T1
    )
    if first != second:
        raise check.misfit(Role.HADA_W2_B, f"what makes {list(first)} as w1 does")
    check.equal(Role.HADA_W2_B, second_rank, rank, "rank")
    return first, rank


def _hada_half(
    check: FactorCheck, roles: tuple[Role, Role, Role], other_core: Role
) -> tuple[Shape, int]:
    left, right, core = roles
    if check.has(core) != check.has(other_core):
        raise check.incomplete("has a core in one half only")
    if check.has(core):
        rank, rows = check.plain(left)
        return (rows, *_core(check, core, (right, rank), rank)), rank
    rows, rank = check.plain(left)
    right_rank, columns, kernel = check.kernel(right)
    check.equal(right, right_rank, rank, "rank")
    return (rows, columns, *kernel), rank


def _lokr(check: FactorCheck) -> tuple[Shape, int]:
    first, first_rank = _kron_half(check, Role.LOKR_W1, _LOKR_W1)
    second, second_rank = _kron_half(check, Role.LOKR_W2, _LOKR_W2, Role.LOKR_T2)
    if first_rank and second_rank:
        check.equal(Role.LOKR_W2_B, second_rank, first_rank, "rank")
    shape = (first[0] * second[0], first[1] * second[1], *second[2:])
    return shape, first_rank or second_rank


def _kron_half(
    check: FactorCheck, whole: Role, pair: tuple[Role, Role], core: Role | None = None
) -> tuple[Shape, int]:
    """Return the shape of a half, and its rank if it is a product."""
    left, right = pair
    if check.has(whole):
        surplus = [role for role in (*pair, core) if role and check.has(role)]
        if surplus:
            raise check.incomplete(f"has both {whole.value} and {surplus[0].value}")
        if whole is Role.LOKR_W1:
            return check.plain(whole), 0
        rows, columns, kernel = check.kernel(whole)
        return (rows, columns, *kernel), 0
    check.need(left, right)
    if core is not None and check.has(core):
        rank, rows = check.plain(left)
        return (rows, *_core(check, core, (right, rank), rank)), rank
    rows, rank = check.plain(left)
    right_rank, columns, kernel = check.kernel(right)
    check.equal(right, right_rank, rank, "rank")
    if whole is Role.LOKR_W1 and math.prod(kernel) != 1:
        raise check.misfit(right, "a matrix")
    return (rows, columns, *kernel), rank


_READINGS: Final[dict[Family, Callable[[FactorCheck], tuple[Shape, int]]]] = {
    Family.LORA: _lora,
    Family.LOHA: _loha,
    Family.LOKR: _lokr,
    Family.FULL: _full,
}
