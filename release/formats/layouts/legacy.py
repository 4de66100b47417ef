"""ComfyUI's earlier scaled fp8: a marker for a whole part of the model.

The marker `{prefix}scaled_fp8` makes every `{prefix}X.scale_weight` the scale of
`{prefix}X.weight`. The marker's dtype was once the fp8 type of the weights. Today's
ComfyUI casts them to e4m3fn whatever it says, so an e5m2 file has two meanings and is
refused, unless the caller decides for the one that is stored.

Source:
    Comfy-Org/ComfyUI, `convert_old_quants` in comfy/utils.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from release.errors import DtypeError, TensorMismatchError, first_names, visible
from release.formats.checkpoint import Checkpoint
from release.formats.layouts.claims import ASSUME_HINT, Claim
from release.formats.layouts.names import LEGACY_SCALE, MARKER, Survey, member
from release.formats.layouts.shapes import Reading
from release.numeric.dtype import Dtype

_MARKER_DTYPES: Final = {
    Dtype.F32: Dtype.F8_E4M3,
    Dtype.F8_E4M3: Dtype.F8_E4M3,
    Dtype.F8_E5M2: Dtype.F8_E5M2,
}


@dataclass(frozen=True, slots=True)
class Marked:
    """What the markers of a checkpoint cover.

    Attributes:
        claims: One per scale under a marker's prefix.
        warnings: One line each, beginning with a stable word.
    """

    claims: tuple[Claim, ...]
    warnings: tuple[str, ...]


def read_markers(
    checkpoint: Checkpoint, survey: Survey, *, assume_scaled: bool
) -> Marked:
    """Return the scales that the markers of `checkpoint` cover; there may be none.

    Raises:
        TensorMismatchError: `missing-scale` for a marker that covers no scale.
        DtypeError: `legacy-e5m2` for weights in e5m2, unless `assume_scaled`.
    """
    covered: dict[str, set[Dtype]] = {name: set() for name in survey.having(MARKER)}
    claims: list[Claim] = []
    for module in survey.having(LEGACY_SCALE) if covered else ():
        claim = Claim(module, member(module, LEGACY_SCALE), Reading())
        holders = [holder for holder in _holders(module) if holder in covered]
        for holder in holders:
            covered[holder].add(_dtype_of(checkpoint, claim))
        if holders:
            claims.append(claim)
    warnings: list[str] = []
    for module, under in covered.items():
        marker = member(module, MARKER)
        if not under:
            raise _without_scales(checkpoint, marker)
        warnings.extend(_marker_warnings(checkpoint, marker, under))
    e5m2 = [
        claim.weight
        for claim in claims
        if _dtype_of(checkpoint, claim) is Dtype.F8_E5M2
    ]
    if e5m2 and not assume_scaled:
        raise _ambiguous(checkpoint, e5m2)
    if e5m2:
        warnings.append(
            f"legacy-e5m2: {len(e5m2):,} weights are read as the e5m2 that is stored; "
            f"ComfyUI since late 2025 casts them to e4m3fn: {first_names(e5m2)}"
        )
    return Marked(tuple(claims), tuple(warnings))


def _holders(module: str) -> Iterator[str]:
    """Yield the module and all that it is part of, the root last."""
    while module:
        yield module
        module = module.rpartition(".")[0]
    yield ""


def _dtype_of(checkpoint: Checkpoint, claim: Claim) -> Dtype:
    """Return the dtype of the weight; of its scale where there is no weight."""
    tensors = checkpoint.tensors
    return tensors.get(claim.weight, tensors[claim.scale]).dtype


def _marker_warnings(
    checkpoint: Checkpoint, marker: str, found: set[Dtype]
) -> tuple[str, ...]:
    dtype = checkpoint.tensors[marker].dtype
    if found <= {_MARKER_DTYPES.get(dtype)}:
        return ()
    text = f"{visible(marker)} is {dtype.code}, its weights are read as what they are"
    return (f"marker-dtype: {text}",)


def _without_scales(checkpoint: Checkpoint, marker: str) -> TensorMismatchError:
    return TensorMismatchError(
        checkpoint.path,
        f"holds the marker {visible(marker)} and no .{LEGACY_SCALE} under its prefix, "
        f"expected one per scaled weight",
        code="missing-scale",
        hint="the file is incomplete, or a program dropped its scales; get it from its "
        "author",
    )


def _ambiguous(checkpoint: Checkpoint, weights: list[str]) -> DtypeError:
    return DtypeError(
        checkpoint.path,
        f"holds {len(weights):,} scaled weights in F8_E5M2 under a {MARKER} marker, "
        f"expected F8_E4M3: older programs read them as stored, ComfyUI since late "
        f"2025 casts them to e4m3fn ({first_names(weights)})",
        code="legacy-e5m2",
        hint=ASSUME_HINT,
    )
