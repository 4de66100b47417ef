"""What a conversion cost: by component, and for the tensors that lost most."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from release.architecture.sdxl import component_of
from release.convert.plan import ConvertPlan, VariantPlan
from release.engine.results import Deviation, OutputReport
from release.errors import ParityError, visible
from release.numeric.dtype import Dtype

WORST_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class TensorLoss:
    """What one tensor lost. `scaled` tensors have a scale beside them."""

    name: str
    dtype: Dtype
    scaled: bool
    deviation: Deviation


@dataclass(frozen=True, slots=True)
class ComponentLoss:
    """What one component lost, and what it takes.

    Attributes:
        component: Its name.
        nbytes_before: Bytes of its tensors in the source, scales included.
        nbytes_after: The same in the output; as much memory do its weights take where a
            program keeps them as they are stored.
        coarsest: The dtype with the fewest bits of precision among its cast tensors;
            None where nothing was cast.
        cast: What was measured of the tensors that were cast. The others lost nothing,
            and would only raise the ratio.
    """

    component: str
    nbytes_before: int
    nbytes_after: int
    coarsest: Dtype | None
    cast: Deviation

    @property
    def ceiling_db(self) -> float | None:
        """What SNR `coarsest` can reach at best; None where nothing was cast."""
        return None if self.coarsest is None else self.coarsest.snr_ceiling_db


@dataclass(frozen=True, slots=True)
class VariantLoss:
    """What one variant lost.

    Attributes:
        components: By component, sorted by name.
        total: All of them together.
        worst: The tensors with the lowest SNR, worst first; those that lost nothing are
            not among them.
    """

    components: tuple[ComponentLoss, ...]
    total: ComponentLoss
    worst: tuple[TensorLoss, ...]


@dataclass(frozen=True, slots=True)
class Converted:
    """One variant, finished.

    Attributes:
        plan: What was intended.
        parts: What is known of its files, in the plan's order.
        loss: What it cost.
    """

    plan: VariantPlan
    parts: tuple[OutputReport, ...]
    loss: VariantLoss


def variant_loss(
    plan: ConvertPlan, variant: VariantPlan, tensors: Mapping[str, Deviation]
) -> VariantLoss:
    """Return what a variant lost.

    Args:
        plan: The conversion.
        variant: One of its variants.
        tensors: Tensor name -> what was measured.
    """
    names: dict[str, list[str]] = {}
    for name in sorted(tensors):
        component = component_of(plan.source.single_file_name(name)).value
        names.setdefault(component, []).append(name)
    components = tuple(
        _component(plan, variant, tensors, component, names[component])
        for component in sorted(names)
    )
    total = _component(plan, variant, tensors, "total", sorted(tensors))
    return VariantLoss(components, total, _worst(variant, tensors))


def too_lossy(
    variant: VariantPlan, tensors: Mapping[str, Deviation], *, min_snr: float
) -> frozenset[str]:
    """Return the fp8 tensors that lose more than `min_snr` dB allow."""
    return frozenset(
        name
        for name, deviation in tensors.items()
        if variant.assignments[name].dtype.is_fp8 and deviation.snr < min_snr
    )


def check_losses(
    plan: ConvertPlan, variant: VariantPlan, tensors: Mapping[str, Deviation]
) -> None:
    """Refuse a variant in which a tensor lost more than is allowed.

    Raises:
        ParityError: `snr-below`; names the worst tensor, and how many there are.
    """
    limit = plan.options.fail_below
    if limit is None:
        return
    bad = [loss for loss in _all_worst(variant, tensors) if loss.deviation.snr < limit]
    if bad:
        worst = bad[0]
        raise ParityError(
            f"{visible(plan.source.checkpoint.path, 1024)} as {variant.preset.name}: "
            f"{len(bad):,} tensors are below {limit:g} dB, the worst "
            f"{visible(worst.name)} at {worst.deviation.snr_db} dB",
            code="snr-below",
            hint=f"nothing was written: pass --min-snr {limit:g} to keep such tensors "
            "in fp16, or choose another variant",
        )


def _component(
    plan: ConvertPlan,
    variant: VariantPlan,
    tensors: Mapping[str, Deviation],
    component: str,
    names: list[str],
) -> ComponentLoss:
    layout, entries = plan.source.layout, plan.source.checkpoint.tensors
    scales = [layout.scales[name] for name in names if name in layout.scales]
    cast = [name for name in names if name in variant.cast]
    dtypes = [variant.assignments[name].dtype for name in cast]
    return ComponentLoss(
        component=component,
        nbytes_before=sum(entries[name].nbytes for name in names)
        + sum(entries[scale.name].nbytes for scale in scales),
        nbytes_after=sum(variant.nbytes[name] for name in names),
        coarsest=min(dtypes, key=lambda dtype: dtype.mantissa_bits or 0, default=None),
        cast=Deviation.total(tensors[name] for name in cast),
    )


def _worst(
    variant: VariantPlan, tensors: Mapping[str, Deviation]
) -> tuple[TensorLoss, ...]:
    return _all_worst(variant, tensors)[:WORST_SHOWN]


def _all_worst(
    variant: VariantPlan, tensors: Mapping[str, Deviation]
) -> tuple[TensorLoss, ...]:
    losses = [
        TensorLoss(name, assignment.dtype, assignment.scaled, tensors[name])
        for name, assignment in variant.assignments.items()
        if not math.isinf(tensors[name].snr)
    ]
    return tuple(sorted(losses, key=lambda loss: (loss.deviation.snr, loss.name)))
