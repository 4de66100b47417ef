"""The jobs of a pass: one tensor each, as plain data that any executor can run."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from release.formats.layouts.kinds import Scale
from release.formats.tensor import TensorEntry
from release.numeric.dtype import Dtype


@dataclass(frozen=True, slots=True)
class Operand:
    """One ingredient's part in a tensor.

    `coefficient` is what the tensor is multiplied by; it is 0 for an ingredient that is
    read only for its digest. `scale` says what fp8 values are multiplied by; None if
    they stand for themselves.
    """

    ingredient: int
    entry: TensorEntry
    coefficient: float
    scale: Scale | None = None


Terms: TypeAlias = tuple[tuple[int, float], ...]
"""Pairs of leaf and coefficient, in the order of summation. Leaf n is the job's operand
n; beyond the operands come its methods."""


@dataclass(frozen=True, slots=True)
class MethodStep:
    """A merge method's part in a tensor.

    Attributes:
        method: One of `release.recipe.functions.METHODS`.
        parameters: Its numbers, exact.
        models: For each of its models, a sum of operands and earlier methods.
        coefficient: What its result is multiplied by; 0 for one that only later methods
            use.
    """

    method: str
    parameters: tuple[tuple[str, Fraction], ...]
    models: tuple[Terms, ...]
    coefficient: float


@dataclass(frozen=True, slots=True)
class Companions:
    """The two tensors that go with a scaled weight.

    `scale` is F32 without dimensions: the weight is its stored values times that one.
    `marker` says so to consumers, in the bytes `marker_text`. Offsets are absolute.
    """

    scale: str
    scale_offset: int
    marker: str
    marker_offset: int
    marker_text: bytes

    @property
    def names(self) -> tuple[str, str]:
        """Both tensor names."""
        return (self.scale, self.marker)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a tensor goes: output number, name there, dtype, absolute byte offset.

    With `clamps`, values beyond the dtype's finite range become its edge; without, they
    become infinite, which is an error. A target with `companions` is scaled.
    """

    output: int
    name: str
    dtype: Dtype
    offset: int
    clamps: bool = False
    companions: Companions | None = None


@dataclass(frozen=True, slots=True)
class TensorJob:
    """One tensor: read its operands, combine, write its targets.

    A `copied` tensor is taken from the first operand bit for bit, and the others must
    hold the same bytes.
    """

    name: str
    component: str
    shape: tuple[int, ...]
    copied: bool
    operands: tuple[Operand, ...]
    targets: tuple[Target, ...]
    methods: tuple[MethodStep, ...] = ()

    @property
    def n_elements(self) -> int:
        """Product of the dimensions."""
        return math.prod(self.shape)

    @property
    def terms(self) -> Terms:
        """The sum that the tensor is, of operands and methods."""
        leaves: tuple[Operand | MethodStep, ...] = (*self.operands, *self.methods)
        return tuple(
            (number, leaf.coefficient)
            for number, leaf in enumerate(leaves)
            if leaf.coefficient
        )

    @property
    def read_nbytes(self) -> int:
        """Bytes read from all operands."""
        return sum(operand.entry.nbytes for operand in self.operands)

    @property
    def is_scaled(self) -> bool:
        """Whether a target needs the greatest magnitude before it can be written."""
        return any(target.companions for target in self.targets)
