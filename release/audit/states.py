"""Which tensors follow the recipe: by their sample, or by every value of theirs."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from release.audit.clusters import Cluster, find_clusters
from release.audit.fit import Columns
from release.audit.samples import Sampled, Tally, near_share
from release.engine.recheck import Rechecked

_UNEVEN: Final = 5
"""How much more often than on average values of one tensor may be neighbours."""
_NEARLY: Final = 0.002
_FEW: Final = 3
"""Neighbours that a small tensor may have by chance."""


@dataclass(slots=True)
class States:
    """The tensors of a file by how they compare with the recipe.

    Attributes:
        equal: All compared values are equal.
        near: The others are neighbours of what they should be, few enough.
        cast: All values, or those of a sample, are equal if the sum is rounded to the
            dtype of the ingredients first.
        failing: Values differ.
        open: Nothing is declared that could be compared.
    """

    equal: list[Sampled] = field(default_factory=list)
    near: list[Sampled] = field(default_factory=list)
    cast: list[Sampled] = field(default_factory=list)
    failing: list[Sampled] = field(default_factory=list)
    open: list[Sampled] = field(default_factory=list)

    @property
    def passing(self) -> list[Sampled]:
        """Tensors that follow the recipe."""
        return [*self.equal, *self.near]


def tally_of(sampled: Sampled, counts: Mapping[str, Rechecked]) -> Tally | None:
    """Return how a tensor compares: every value if that is known, else the sample."""
    found = counts.get(sampled.task.name)
    if found is None or found.counts is None or found.problem:
        return sampled.tally
    c = found.counts
    return Tally(c.n_elements, c.n_equal, c.n_near)


def states_of(
    sampled: Iterable[Sampled],
    counts: Mapping[str, Rechecked],
    columns: Columns,
    *,
    recast: AbstractSet[str] = frozenset(),
) -> States:
    """Return the tensors by how they compare with the recipe.

    Args:
        sampled: Every tensor's sample.
        counts: Tensor name -> what its re-execution found, where there was one.
        columns: The ingredients.
        recast: Tensors that are equal in a re-execution by way of a finer file.

    Neighbouring values pass if they are as rare as another order of sums makes them,
    and if the coefficients that fit the tensors are those declared.
    """
    states = States()
    for each in sampled:
        tally = tally_of(each, counts)
        if tally is None:
            is_bad = each.task.row is not None or not each.is_finite
            (states.failing if is_bad else states.open).append(each)
        elif tally.is_equal:
            states.equal.append(each)
        elif _is_cast(each, counts, recast):
            states.cast.append(each)
        elif tally.is_near and _is_rare(tally, each):
            states.near.append(each)
        else:
            states.failing.append(each)
    if states.near and not _is_order(states, counts, columns):
        states.failing += states.near
        states.near = []
    return states


def _is_cast(
    sampled: Sampled, counts: Mapping[str, Rechecked], recast: AbstractSet[str]
) -> bool:
    found = counts.get(sampled.task.name)
    if found is not None and found.counts is not None:
        return sampled.task.name in recast
    return sampled.cast is not None and sampled.cast.is_equal


def _is_rare(tally: Tally, sampled: Sampled) -> bool:
    allowed = _UNEVEN * near_share(sampled.task.dtype) * tally.n
    return tally.n_near <= allowed + _FEW


def _is_order(
    states: States, counts: Mapping[str, Rechecked], columns: Columns
) -> bool:
    """Whether all neighbours together can come from the order of sums."""
    n_near = 0
    allowed = float(_FEW)
    for each in states.passing:
        tally = tally_of(each, counts)
        if tally is not None:
            n_near += tally.n_near
            allowed += near_share(each.task.dtype) * tally.n
    if n_near > allowed:
        return False
    fitted = [each for each in states.near if each.moments is not None]
    clusters = find_clusters(fitted, columns)
    return all(agrees_with_declared(each, columns) for each in clusters)


def agrees_with_declared(cluster: Cluster, columns: Columns) -> bool:
    """Whether the declared coefficients fit a cluster as well as the best do."""
    row = cluster.members[0].task.row
    if row is None:
        return False
    return cluster.fit.freedom <= 0 or cluster.fit.agrees(row, cluster.moments, columns)


def is_nearly_declared(cluster: Cluster, columns: Columns) -> bool:
    """Whether coefficients are so near those declared that roundings may be the reason.

    A program that computes in float16 has the weight 0.9 as 0.8999.
    """
    row = cluster.members[0].task.row
    if row is None:
        return False
    if agrees_with_declared(cluster, columns):
        return True
    return all(
        each.value is not None
        and abs(each.value - sum(row.get(name, 0.0) for name in each.names)) < _NEARLY
        for each in cluster.fit.coefficients
    )


def names_of(sampled: Sequence[Sampled]) -> frozenset[str]:
    """Return the names of tensors."""
    return frozenset(each.task.name for each in sampled)
