"""Tensors that a missing ingredient has a part in: what the others still show.

y = (declared sum of those at hand) + c * missing. Nothing is known of the missing
model but that it is of the same family: its values are mostly those that all share, so
whatever it adds can move a coefficient by at most c, towards the model it came from;
and all coefficients together must still sum to the declared total. A missing LoRA is a
difference and has no part in that.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from fractions import Fraction
from typing import Final

from release.audit.clusters import Cluster, find_clusters
from release.audit.places import Places
from release.audit.report import Finding
from release.audit.residuals import residual_rms
from release.audit.samples import Sampled, Samples
from release.audit.verdict import Verdict
from release.audit.wording import coefficient_text, declared_text
from release.recipe.decimals import decimal_text

_SIGMAS: Final = 6.0
_SMALL: Final = 1e-6
_SUM_TOLERANCE: Final = 0.02
"""How far the sum may be off, as models do not share all of their values."""


def partial_findings(
    pile: Sequence[Sampled],
    samples: Samples,
    places: Places,
    *,
    missing: AbstractSet[str],
    loras: AbstractSet[str],
) -> Iterator[Finding]:
    """Yield what can be said of tensors whose row names a missing ingredient.

    Args:
        pile: The tensors, with moments.
        samples: To look again.
        places: To say where.
        missing: The ingredients that are not at hand.
        loras: Those of the recipe that are LoRAs.
    """
    for cluster in find_clusters(pile, samples.columns, noisy=True):
        declared = cluster.members[0].task.declared or {}
        rms = residual_rms(cluster.members, samples)
        found = ", ".join(coefficient_text(each) for each in cluster.fit.coefficients)
        models = {
            name: value
            for name, value in declared.items()
            if name in samples.columns.names or name not in loras
        }
        agrees = _agrees(cluster, models, missing)
        shares = " and ".join(
            f"{decimal_text(declared[name])} of {name}"
            for name in sorted(missing & declared.keys())
        )
        how = "as far off as" if agrees else "some farther off than"
        detail = f"{found}, {how} {shares} may move them"
        if rms is not None:
            detail += f"; what remains has rms {rms[0]:.2g} of {rms[1]:.2g}"
        yield Finding(
            verdict=Verdict.PARTIAL if agrees else Verdict.COEFFICIENT,
            places=places.text(cluster.names),
            tensors=cluster.names,
            detail=detail,
            declared=declared_text(cluster.members),
            found=cluster.fit.coefficients,
            rms=None if rms is None else rms[0],
        )


def _agrees(
    cluster: Cluster, declared: Mapping[str, Fraction], missing: AbstractSet[str]
) -> bool:
    """Whether some model of the family in the missing one's place explains the rest."""
    absent = [float(value) for name, value in declared.items() if name in missing]
    low = sum(min(0.0, value) for value in absent)
    high = sum(max(0.0, value) for value in absent)
    total, error = 0.0, 0.0
    wanted = float(sum(declared.values(), Fraction(0)))
    for each in cluster.fit.coefficients:
        own = float(sum(declared.get(name, Fraction(0)) for name in each.names))
        if each.value is None or each.error is None:
            return True
        allowed = _SIGMAS * each.error + _SMALL
        if not own + low - allowed <= each.value <= own + high + allowed:
            return False
        total, error = total + each.value, error + each.error
    return abs(total - wanted) <= _SUM_TOLERANCE + _SIGMAS * error
