"""Findings by least squares: other coefficients, the same but rounded, none."""

from collections.abc import Iterator, Sequence
from typing import Final

from release.audit.bench import Bench
from release.audit.clusters import (
    Cluster,
    brought_together,
    find_clusters,
    told_apart,
)
from release.audit.report import Finding
from release.audit.residuals import residual_rms
from release.audit.roundings import best_arithmetic
from release.audit.samples import Sampled
from release.audit.states import (
    States,
    agrees_with_declared,
    is_nearly_declared,
    names_of,
)
from release.audit.verdict import Verdict
from release.audit.wording import coefficient_text

_FOREIGN_SHARE_MAX: Final = 0.1
"""Up to this share of the tensors, unexplained ones are strangers in a file."""
_WEIGHTY: Final = 0.1
"""Share of the tensors from which on coefficients count beside unexplained ones."""


def fitted(bench: Bench, pile: Sequence[Sampled], states: States) -> Iterator[Finding]:
    """Yield what fits say of tensors that do not follow the recipe.

    Args:
        bench: Question and evidence.
        pile: The tensors.
        states: All tensors; near ones that an arithmetic explains leave their pile.
    """
    explained, strange = _explained(bench, pile)
    near = [each for each in explained if is_nearly_declared(each, bench.columns)]
    rounded = [member for cluster in near for member in cluster.members]
    if rounded:
        best, share = best_arithmetic(rounded, bench.question, bench.samples)
        if best is not None:
            near, rounded = [], rounded + states.near
            states.near.clear()
            detail = f"{best.sentence} ({100 * share:.4g} % equal so)"
            yield _rounded(bench, best.verdict, rounded, detail, states.equal)
    agreeing: list[Sampled] = []
    for cluster in explained:
        if agrees_with_declared(cluster, bench.columns):
            agreeing += cluster.members if cluster in near else ()
        elif cluster in near or not is_nearly_declared(cluster, bench.columns):
            yield _differing(bench, cluster, states.passing)
    if agreeing:
        tallies = [bench.tally(each) for each in agreeing]
        n = sum(tally.n for tally in tallies)
        off = 100 * (1 - sum(tally.n_equal for tally in tallies) / n)
        detail = f"the coefficients agree, {off:.2g} % of values are rounded otherwise"
        yield _rounded(bench, Verdict.ARITHMETIC, agreeing, detail, states.passing)
    yield from _strange(bench, strange)


def _rounded(
    bench: Bench,
    verdict: Verdict,
    pile: Sequence[Sampled],
    detail: str,
    passing: Sequence[Sampled],
) -> Finding:
    """Return a finding on arithmetic; tensors that pass may be of it as well."""
    return bench.finding(verdict, pile, detail, silent=names_of(passing))


def _explained(
    bench: Bench, pile: Sequence[Sampled]
) -> tuple[list[Cluster], list[Sampled]]:
    """Return what coefficients explain, and the tensors that none do.

    Where most tensors are no sums of the ingredients, coefficients that happen to
    fit a few small ones mean nothing.
    """
    fitted = [each for each in pile if each.moments is not None]
    strange = [each for each in pile if each.moments is None]
    explained: list[Cluster] = []
    for cluster in find_clusters(fitted, bench.columns):
        if cluster.is_explained:
            explained.append(cluster)
        else:
            strange += cluster.members
    if 2 * len(strange) > len(pile):
        floor = _WEIGHTY * len(pile)
        for cluster in explained:
            strange += cluster.members if len(cluster.members) < floor else ()
        explained = [each for each in explained if len(each.members) >= floor]
    return brought_together(explained), strange


def _differing(bench: Bench, cluster: Cluster, passing: Sequence[Sampled]) -> Finding:
    row = cluster.members[0].task.row or {}
    found = {each.names[0]: each.value or 0.0 for each in cluster.fit.coefficients}
    parts = []
    for each in cluster.fit.coefficients:
        declared = sum(row.get(name, 0.0) for name in each.names)
        if each.is_off(declared):
            parts.append(f"{coefficient_text(each)}, declared {declared:.6g}")
    undetermined = "coefficients that cannot be told one by one"
    return bench.finding(
        Verdict.COEFFICIENT,
        cluster.members,
        "; ".join(parts) or undetermined,
        found=cluster.fit.coefficients,
        silent=bench.silent(cluster.members, passing, lambda _: found),
    )


def solved(bench: Bench, pile: Sequence[Sampled]) -> Iterator[Finding]:
    """Yield the coefficients of tensors of which nothing is declared."""
    explained, strange = _explained(bench, pile)
    explained, undetermined = told_apart(explained)
    for cluster in explained:
        found = cluster.fit.coefficients
        is_blind = all(len(e.names) > 1 or e.value is None for e in found)
        yield bench.finding(
            Verdict.UNIDENTIFIABLE if is_blind else Verdict.FITTED,
            cluster.members,
            ", ".join(coefficient_text(each) for each in found),
            found=found,
        )
    for fitting, members in undetermined:
        sets = " or ".join(
            ", ".join(coefficient_text(each) for each in cluster.fit.coefficients)
            for cluster in fitting
        )
        detail = f"undetermined between {sets}: too few values to tell"
        yield bench.finding(Verdict.FITTED, members, detail)
    yield from _strange(bench, strange)


def _strange(bench: Bench, pile: Sequence[Sampled]) -> Iterator[Finding]:
    if not pile:
        return
    share = len(pile) / len(bench.evidence.sampled)
    is_few = share <= _FOREIGN_SHARE_MAX
    rms = residual_rms(pile, bench.samples)
    detail = "no sum of the ingredients, and of too few values to solve for one"
    if rms is not None:
        detail = (
            f"no sum of the ingredients; the best leaves rms {rms[0]:.2g} of"
            f" {rms[1]:.2g}"
        )
    yield bench.finding(
        Verdict.FOREIGN if is_few else Verdict.UNEXPLAINED,
        pile,
        detail,
        rms=None if rms is None else rms[0],
    )
