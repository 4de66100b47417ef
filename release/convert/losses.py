"""What a conversion cost: by component, and for the tensors that lost most."""

import math
from collections.abc import Mapping, Sequence
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
        cast: Dtype -> what was measured of the tensors that became it, fewest bits of
            precision first. Each dtype stands for itself: what an exact or finer cast
            adds to a signal would hide what a coarse one lost.
    """

    component: str
    nbytes_before: int
    nbytes_after: int
    cast: Mapping[Dtype, Deviation]


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
            f"{_counted(bad)} below {limit:g} dB, the worst "
            f"{visible(worst.name)} at {worst.deviation.snr_db} dB",
            code="snr-below",
            hint=f"nothing was written: pass --min-snr {limit:g} to keep such tensors "
            "in fp16, or choose another variant",
        )


def _counted(losses: Sequence[TensorLoss]) -> str:
    return "1 tensor is" if len(losses) == 1 else f"{len(losses):,} tensors are"


def _component(
    plan: ConvertPlan,
    variant: VariantPlan,
    tensors: Mapping[str, Deviation],
    component: str,
    names: list[str],
) -> ComponentLoss:
    layout, entries = plan.source.layout, plan.material.weights
    scales = [layout.scales[name] for name in names if name in layout.scales]
    stored = plan.source.checkpoint.tensors
    parts: dict[Dtype, list[Deviation]] = {}
    for name in names:
        if name in variant.cast:
            parts.setdefault(variant.assignments[name].dtype, []).append(tensors[name])
    return ComponentLoss(
        component=component,
        nbytes_before=sum(entries[name].nbytes for name in names)
        + sum(stored[scale.name].nbytes for scale in scales),
        nbytes_after=sum(variant.nbytes[name] for name in names),
        cast={
            dtype: Deviation.total(parts[dtype])
            for dtype in sorted(parts, key=lambda dtype: dtype.mantissa_bits or 0)
        },
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
