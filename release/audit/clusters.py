"""Tensors that the same coefficients explain, found from the bottom up.

A group of tensors that one merge step treats alike is pooled if one set of coefficients
fits it as well as separate ones do, otherwise its tensors stand alone. Groups that the
same coefficients fit are then brought together.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from release.audit.fit import Coefficient, Columns, Fit, Moments, classes_of, solve
from release.audit.samples import Sampled

EXPLAINED_RATIO: Final = 25.0
"""Up to which mean squared residual, in those of rounding, a fit explains values:
roundings on the way leave up to some ten times as much, other values thousands."""

_ALIKE: Final = 0.0005
"""Coefficients no farther apart are one in a report."""
_PER_UNKNOWN: Final = 3.0
_MARGIN: Final = 36.0

_Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Cluster:
    """Tensors with common coefficients.

    Attributes:
        members: The tensors.
        moments: Of all of them together.
        fit: What fits them best.
    """

    members: tuple[Sampled, ...]
    moments: Moments
    fit: Fit

    @property
    def names(self) -> tuple[str, ...]:
        """The tensors' names, sorted."""
        return tuple(sorted(each.task.name for each in self.members))

    @property
    def is_explained(self) -> bool:
        """Whether the fit leaves hardly more than roundings do."""
        return self.fit.freedom > 0 and self.fit.ratio <= EXPLAINED_RATIO


def find_clusters(
    sampled: Iterable[Sampled], columns: Columns, *, noisy: bool = False
) -> list[Cluster]:
    """Return all tensors in clusters, those of most elements first.

    Args:
        sampled: With moments.
        columns: The ingredients.
        noisy: Pool tensors of equal declared row whatever the fit leaves: a missing
            ingredient is noise like any other.
    """
    by_key: dict[_Key, list[Sampled]] = {}
    for each in sampled:
        by_key.setdefault(_key(each, columns), []).append(each)
    found: list[Cluster] = []
    for members in by_key.values():
        if noisy:
            found.append(_cluster(members, columns))
        else:
            found += _joined(_leaves(members, columns), columns)
    return sorted(found, key=lambda each: -each.moments.n)


def brought_together(clusters: Sequence[Cluster]) -> list[Cluster]:
    """Return clusters of one declared row whose coefficients agree as one.

    Tensors of different dtypes are not pooled, since the coarser ones would only blur
    the result; the coefficients of the finer stand for both.
    """
    found: list[Cluster] = []
    for cluster in sorted(clusters, key=lambda each: each.moments.floor):
        for at, other in enumerate(found):
            if _agree(other, cluster):
                members = (*other.members, *cluster.members)
                found[at] = Cluster(members, other.moments, other.fit)
                break
        else:
            found.append(cluster)
    return sorted(found, key=lambda each: -len(each.members))


def told_apart(
    clusters: Sequence[Cluster],
) -> tuple[list[Cluster], list[tuple[tuple[Cluster, ...], tuple[Sampled, ...]]]]:
    """Give each group of tensors to the cluster that fits it best, if one does clearly.

    Returns:
        The clusters with the groups that are theirs alone, those of most tensors first;
        and groups that several fit about as well: these clusters, and the tensors.
    """
    own: dict[int, list[Sampled]] = {at: [] for at in range(len(clusters))}
    open_: dict[tuple[int, ...], list[Sampled]] = {}
    for at, cluster in enumerate(clusters):
        groups: dict[object, list[Sampled]] = {}
        for each in cluster.members:
            groups.setdefault((each.task.group, each.task.dtype), []).append(each)
        for members in groups.values():
            fitting = _fitting(members, at, clusters)
            if len(fitting) == 1:
                own[fitting[0]] += members
            else:
                open_.setdefault(fitting, []).extend(members)
    kept = [
        Cluster(tuple(own[at]), cluster.moments, cluster.fit)
        for at, cluster in enumerate(clusters)
        if own[at]
    ]
    return sorted(kept, key=lambda each: -len(each.members)), [
        (tuple(clusters[at] for at in fitting), tuple(members))
        for fitting, members in open_.items()
    ]


def _fitting(
    members: Sequence[Sampled], home: int, clusters: Sequence[Cluster]
) -> tuple[int, ...]:
    """Return which clusters fit some tensors about as well as the best of them."""
    names = [each.names for each in clusters[home].fit.coefficients]
    moments = Moments.total(_moments(each) for each in members)
    misfits = {
        at: moments.misfit_of(cluster.fit.parameters)
        for at, cluster in enumerate(clusters)
        if at == home or [each.names for each in cluster.fit.coefficients] == names
    }
    best = min(misfits.values())
    margin = _MARGIN * max(1.0, best / moments.n)
    return tuple(at for at, misfit in misfits.items() if misfit <= best + margin)


def _agree(one: Cluster, other: Cluster) -> bool:
    if one.members[0].task.declared != other.members[0].task.declared:
        return False
    pairs = list(zip(one.fit.coefficients, other.fit.coefficients, strict=False))
    return len(one.fit.coefficients) == len(other.fit.coefficients) and all(
        a.names == b.names and _are_alike(a, b) for a, b in pairs
    )


def _are_alike(one: Coefficient, other: Coefficient) -> bool:
    if one.value is None or other.value is None:
        return one.value is other.value
    return abs(one.value - other.value) <= _ALIKE or not other.is_off(one.value)


def _key(sampled: Sampled, columns: Columns) -> _Key:
    """Return what tensors must have in common to be pooled.

    Where ingredients are equal less can be told, and pooling would hide that.
    """
    declared = sampled.task.declared
    row = None if declared is None else tuple(sorted(declared.items()))
    return row, sampled.task.dtype, tuple(classes_of(_moments(sampled), columns))


def _leaves(members: Sequence[Sampled], columns: Columns) -> list[Cluster]:
    by_group: dict[object, list[Sampled]] = {}
    for each in members:
        by_group.setdefault(each.task.group, []).append(each)
    leaves = []
    for group in by_group.values():
        alone = [_cluster([each], columns) for each in group]
        pooled = _cluster(group, columns)
        is_one = len(group) == 1 or _is_common(pooled, alone)
        leaves += [pooled] if is_one else alone
    return leaves


def _joined(leaves: Sequence[Cluster], columns: Columns) -> list[Cluster]:
    """Return the leaves brought together; those that nothing explains stay alone."""
    ordered = sorted(leaves, key=lambda leaf: (not leaf.is_explained, -leaf.moments.n))
    clusters: list[Cluster] = []
    for leaf in ordered:
        for at, cluster in enumerate(clusters):
            if not cluster.is_explained or not _may_belong(leaf, cluster):
                continue
            both = _union(cluster, leaf, columns)
            if leaf.fit.freedom <= 0 or _is_common(both, [cluster, leaf]):
                clusters[at] = both
                break
        else:
            clusters.append(leaf)
    return clusters


def _may_belong(leaf: Cluster, cluster: Cluster) -> bool:
    """Whether a cluster's coefficients leave of a leaf no more than roundings do."""
    left = leaf.moments.misfit_of(cluster.fit.parameters)
    return left <= EXPLAINED_RATIO * leaf.moments.n


def _is_common(pooled: Cluster, parts: Sequence[Cluster]) -> bool:
    """Whether one set of coefficients fits about as well as one for each part."""
    if not pooled.is_explained:
        return False
    apart = sum(part.fit.misfit for part in parts)
    freedom = sum(max(0, part.fit.freedom) for part in parts)
    noise = max(1.0, apart / freedom) if freedom else 1.0
    n_unknowns = pooled.fit.n_unknowns * (len(parts) - 1)
    allowed = noise * (_PER_UNKNOWN * n_unknowns + _MARGIN)
    return pooled.fit.misfit - apart <= allowed


def _cluster(members: Sequence[Sampled], columns: Columns) -> Cluster:
    moments = Moments.total(_moments(each) for each in members)
    return Cluster(tuple(members), moments, solve(moments, columns))


def _union(one: Cluster, other: Cluster, columns: Columns) -> Cluster:
    moments = Moments.total([one.moments, other.moments])
    members = (*one.members, *other.members)
    return Cluster(members, moments, solve(moments, columns))


def _moments(sampled: Sampled) -> Moments:
    if sampled.moments is None:
        raise AssertionError("a tensor without moments cannot be fitted")
    return sampled.moments
