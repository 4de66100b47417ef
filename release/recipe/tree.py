"""The syntax tree of a recipe expression."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from release.recipe.weights import BlockWeights


@dataclass(frozen=True, slots=True)
class Number:
    """A decimal, exact."""

    value: Fraction
    column: int


@dataclass(frozen=True, slots=True)
class Name:
    """An ingredient or a step."""

    name: str
    column: int


@dataclass(frozen=True, slots=True)
class Lora:
    """An ingredient that is a LoRA: what it adds to each tensor, 0 where nothing."""

    name: str
    column: int


@dataclass(frozen=True, slots=True)
class Negation:
    """Minus `operand`."""

    operand: "Expression"
    column: int


@dataclass(frozen=True, slots=True)
class Sum:
    """Two or more terms; a subtracted one is a `Negation`."""

    terms: tuple["Expression", ...]
    column: int


@dataclass(frozen=True, slots=True)
class Product:
    """Two or more factors."""

    factors: tuple["Expression", ...]
    column: int


@dataclass(frozen=True, slots=True)
class Lerp:
    """`(1 - t) * a + t * b`."""

    a: "Expression"
    b: "Expression"
    t: "Expression"
    column: int


@dataclass(frozen=True, slots=True)
class BlockMerge:
    """`(1 - w) * base + w * other`, with one weight `w` per block or part."""

    base: "Expression"
    other: "Expression"
    weights: BlockWeights
    column: int


@dataclass(frozen=True, slots=True)
class Target:
    """A block or a part, as `only` names it."""

    name: str
    column: int


@dataclass(frozen=True, slots=True)
class Only:
    """`operand` in the targets, and 0 elsewhere."""

    operand: "Expression"
    targets: tuple[Target, ...]
    column: int


@dataclass(frozen=True, slots=True)
class MethodCall:
    """A method beyond linear, of `release.recipe.functions.METHODS`.

    `parameters` are all of the method's, in its order, with their defaults.
    """

    method: str
    models: tuple["Expression", ...]
    parameters: tuple[tuple[str, Fraction], ...]
    column: int


Expression = (
    Number
    | Name
    | Lora
    | Negation
    | Sum
    | Product
    | Lerp
    | BlockMerge
    | Only
    | MethodCall
)


def children(tree: Expression) -> tuple[Expression, ...]:
    """Return the expressions that `tree` is directly made of, in the order written."""
    match tree:
        case Number() | Name() | Lora():
            return ()
        case Negation(operand) | Only(operand):
            return (operand,)
        case Sum(parts) | Product(parts):
            return parts
        case Lerp(a, b, t):
            return (a, b, t)
        case BlockMerge(base, other):
            return (base, other)
        case MethodCall(_, models):
            return models


def walk(tree: Expression) -> Iterator[Expression]:
    """Yield every expression in `tree` in the order written, itself last."""
    for child in children(tree):
        yield from walk(child)
    yield tree
