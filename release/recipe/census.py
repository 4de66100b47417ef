"""How many tensors and parameters each block of a convention has."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from release.recipe.conventions import CONVENTIONS, Convention
from release.recipe.weights import BlockWeights


@dataclass(frozen=True, slots=True)
class Size:
    """Tensors, and the parameters in them."""

    n_tensors: int
    n_parameters: int


@dataclass(frozen=True, slots=True)
class Change:
    """What another convention changes: tensors in another block, or of other weight.

    `weighted` is None without weights, or where the other convention does not take
    them.
    """

    convention: str
    moved: Size
    weighted: Size | None


def block_sizes(tensors: Mapping[str, int], convention: Convention) -> dict[str, Size]:
    """Return the size of every block that has tensors, in the order of a list.

    Args:
        tensors: Tensor name -> number of parameters.
        convention: What says which block a tensor is in.
    """
    names: dict[str, list[str]] = {block: [] for block in convention.blocks}
    for name in tensors:
        names[convention.block_of(name)].append(name)
    return {block: _size(tensors, held) for block, held in names.items() if held}


def changes(
    tensors: Mapping[str, int], convention: Convention, weights: BlockWeights | None
) -> tuple[Change, ...]:
    """Return what every other convention would change.

    Args:
        tensors: Tensor name -> number of parameters.
        convention: The one that the others are compared with; it takes the weights.
        weights: Block weights, to compare the weight of every tensor too.
    """
    return tuple(
        Change(
            other.name,
            _size(tensors, _moved(tensors, convention, other)),
            _reweighted(tensors, convention, other, weights),
        )
        for other in CONVENTIONS.values()
        if other is not convention
    )


def _moved(tensors: Mapping[str, int], one: Convention, other: Convention) -> list[str]:
    return [name for name in tensors if one.block_of(name) != other.block_of(name)]


def _reweighted(
    tensors: Mapping[str, int],
    one: Convention,
    other: Convention,
    weights: BlockWeights | None,
) -> Size | None:
    if weights is None or other.refusal(weights):
        return None

    def weight(convention: Convention, name: str) -> Fraction:
        return weights.of(convention.cell_of(name))

    return _size(tensors, [n for n in tensors if weight(one, n) != weight(other, n)])


def _size(tensors: Mapping[str, int], names: list[str]) -> Size:
    return Size(len(names), sum(tensors[name] for name in names))
