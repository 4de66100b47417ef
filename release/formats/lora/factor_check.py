"""Looking at the factors of one module, and the errors about them."""

import math
from pathlib import Path
from typing import TypeAlias

from release.errors import DtypeError, ShapeError, TensorMismatchError, visible
from release.formats.hints import FAULTY_WRITER
from release.formats.lora.modules import Module
from release.formats.lora.roles import Role
from release.formats.lora.values import ALPHA_DTYPES, FACTOR_DTYPES

Shape: TypeAlias = tuple[int, ...]


class FactorCheck:
    """The factors of one module.

    Args:
        path: Named in the errors.
        module: The module.
    """

    def __init__(self, path: Path, module: Module) -> None:
        self._path = path
        self._module = module

    def has(self, role: Role) -> bool:
        """Return whether the file has the factor."""
        return role in self._module.tensors

    def need(self, *roles: Role) -> None:
        """Refuse a module that lacks one of `roles`.

        Raises:
            TensorMismatchError: `lora-incomplete`.
        """
        for role in roles:
            if not self.has(role):
                raise self.incomplete(f"has no {role.value}")

    def shape(self, role: Role) -> Shape:
        """Return all dimensions of a factor."""
        return self._module.tensors[role].shape

    def plain(self, role: Role) -> tuple[int, int]:
        """Return the two dimensions of a matrix; trailing dimensions of 1 are none.

        Raises:
            ShapeError: `lora-shape`.
        """
        shape = self.shape(role)
        if len(shape) < 2 or math.prod(shape[2:]) != 1 or 0 in shape:
            raise self.misfit(role, "a matrix")
        return shape[0], shape[1]

    def kernel(self, role: Role) -> tuple[int, int, Shape]:
        """Return the first two dimensions, and the others.

        Raises:
            ShapeError: `lora-shape`.
        """
        shape = self.shape(role)
        if len(shape) < 2 or 0 in shape:
            raise self.misfit(role, "at least two dimensions, none of them 0")
        return shape[0], shape[1], shape[2:]

    def equal(self, role: Role, got: int, expected: int, what: str) -> None:
        """Refuse a dimension of `role`, which is its `what`, unless as `expected`."""
        if got != expected:
            raise self.misfit(role, f"{what} {expected:,} as in the other factor")

    def dtypes(self) -> None:
        """Refuse numbers of a dtype that no trainer writes.

        Raises:
            DtypeError: `lora-dtype`.
            ShapeError: `lora-shape`, an alpha of several numbers.
        """
        for role, entry in self._module.tensors.items():
            known = ALPHA_DTYPES if role is Role.ALPHA else FACTOR_DTYPES
            if entry.dtype not in known:
                codes = ", ".join(sorted(dtype.code for dtype in known))
                raise DtypeError(
                    self._path,
                    f"{visible(entry.name)} is {entry.dtype.code}, expected one of "
                    f"{codes}",
                    code="lora-dtype",
                    hint="save the LoRA in F16, BF16 or F32 with its trainer",
                )
            if role is Role.ALPHA and entry.n_elements != 1:
                raise self.misfit(role, "one number")

    def incomplete(self, reason: str) -> TensorMismatchError:
        """Return the error for factors that are missing or too many."""
        return TensorMismatchError(
            self._path,
            f"{visible(self._module.name)} {reason}",
            code="lora-incomplete",
            hint=FAULTY_WRITER,
        )

    def misfit(self, role: Role, expected: str) -> ShapeError:
        """Return the error for a factor's shape."""
        entry = self._module.tensors[role]
        return ShapeError(
            self._path,
            f"{visible(entry.name)} has the shape {visible(list(entry.shape))}, "
            f"expected {expected}",
            code="lora-shape",
            hint=FAULTY_WRITER,
        )

    def too_high(self, rank: int, highest: int) -> ShapeError:
        """Return the error for a rank that no LoRA has."""
        return ShapeError(
            self._path,
            f"{visible(self._module.name)} has rank {rank:,}, expected at most "
            f"{highest:,}",
            code="lora-rank",
            hint="a full difference is smaller; extract it again with a lower rank",
        )
