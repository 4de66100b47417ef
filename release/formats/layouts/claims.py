"""From what a layout claims to what the tensors allow: every scale is checked."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from release.errors import (
    DtypeError,
    ShapeError,
    TensorMismatchError,
    first_names,
    visible,
)
from release.formats.checkpoint import Checkpoint
from release.formats.layouts.kinds import Scale
from release.formats.layouts.names import WEIGHT, member
from release.formats.layouts.shapes import ANY, Block, Reading, fit
from release.formats.tensor import TensorEntry
from release.numeric.dtype import Dtype

ASSUME_HINT: Final = (
    "get the complete file from its author; if you know that a weight is its fp8 value "
    "times its scale, pass --assume-scaled"
)

_SCALE_DTYPES: Final = (Dtype.F32, Dtype.F16, Dtype.BF16)


@dataclass(frozen=True, slots=True)
class Claim:
    """That one tensor is the scale of one module's weight.

    Attributes:
        module: Whose weight; "" is the root.
        scale: The scale tensor.
        reading: Shapes that the layout gives a meaning to.
        dtype: What the layout says the weight is, if it says so; U8 is then read as
            that.
    """

    module: str
    scale: str
    reading: Reading
    dtype: Dtype | None = None

    @property
    def weight(self) -> str:
        """The weight tensor."""
        return member(self.module, WEIGHT)


@dataclass(frozen=True, slots=True)
class Bound:
    """Claims that hold.

    Attributes:
        scales: Weight -> its scale.
        stored_as: Weight -> fp8 dtype, where the tensor is U8.
        assumed: Weights whose scale has a shape that the layout does not know.
    """

    scales: Mapping[str, Scale]
    stored_as: Mapping[str, Dtype]
    assumed: tuple[str, ...]


def check_tensors(checkpoint: Checkpoint, claims: Sequence[Claim]) -> None:
    """Check that every claim has its two tensors, once, and that the weight is fp8.

    Raises:
        TensorMismatchError: `missing-weight`, `missing-scale` or `two-scales`.
        DtypeError: `scaled-dtype` for a weight that is not fp8, `fp8-dtype` for one
            whose dtype is not the one claimed.
    """
    tensors = checkpoint.tensors
    _require(checkpoint, (claim.weight for claim in claims), code="missing-weight")
    _require(checkpoint, (claim.scale for claim in claims), code="missing-scale")
    seen: dict[str, str] = {}
    for claim in claims:
        if claim.weight in seen:
            raise TensorMismatchError(
                checkpoint.path,
                f"tensor {visible(claim.weight)} has two scales, "
                f"{visible(seen[claim.weight])} and {visible(claim.scale)}, "
                f"expected one",
                code="two-scales",
                hint="two programs have written to this file; get it from its author",
            )
        seen[claim.weight] = claim.scale
        _check_weight_dtype(checkpoint, claim, tensors[claim.weight].dtype)


def bind(
    checkpoint: Checkpoint, claims: Iterable[Claim], *, assume_scaled: bool
) -> Bound:
    """Return how every claimed scale spreads over its weight.

    Values are read where a scale is one element.

    Args:
        checkpoint: The checkpoint, open.
        claims: What `check_tensors` has accepted.
        assume_scaled: Whether shapes that a layout does not know are read as they are
            in other layouts.

    Raises:
        DtypeError: `scale-dtype`.
        ShapeError: `scale-shape`.
        ValueRangeError: `bad-scale`.
    """
    scales: dict[str, Scale] = {}
    stored_as: dict[str, Dtype] = {}
    assumed: list[str] = []
    for claim in claims:
        weight, scale = (
            checkpoint.tensors[claim.weight],
            checkpoint.tensors[claim.scale],
        )
        _check_scale_dtype(checkpoint, scale)
        block = fit(weight.shape, scale.shape, claim.reading)
        if block is None and assume_scaled:
            block = fit(weight.shape, scale.shape, ANY)
            assumed.append(claim.weight)
        if block is None:
            raise _misfit(checkpoint, weight, scale)
        scales[claim.weight] = _checked(checkpoint, scale, block)
        if weight.dtype is Dtype.U8 and claim.dtype is not None:
            stored_as[claim.weight] = claim.dtype
    return Bound(scales, stored_as, tuple(assumed))


def _checked(checkpoint: Checkpoint, entry: TensorEntry, block: Block) -> Scale:
    # numpy loads only for checkpoints that have scales.
    from release.formats.scaled import read_grid

    scale = Scale(entry.name, *block)
    if entry.n_elements == 1:
        read_grid(checkpoint, scale)
    return scale


def _require(checkpoint: Checkpoint, names: Iterable[str], *, code: str) -> None:
    missing = [name for name in names if name not in checkpoint.tensors]
    if missing:
        raise TensorMismatchError(
            checkpoint.path,
            f"lacks {len(missing):,} tensors that its scaled layout needs: "
            f"{first_names(missing)}",
            code=code,
            hint="the file is incomplete, or a program renamed its tensors; get it "
            "from its author",
        )


def _check_weight_dtype(checkpoint: Checkpoint, claim: Claim, dtype: Dtype) -> None:
    if not dtype.is_fp8 and not (dtype is Dtype.U8 and claim.dtype is not None):
        raise DtypeError(
            checkpoint.path,
            f"tensor {visible(claim.weight)} is {dtype.code} and has the scale "
            f"{visible(claim.scale)}, expected F8_E4M3 or F8_E5M2",
            code="scaled-dtype",
            hint="only scaled fp8 is read; convert the file that it was made from",
        )
    if dtype.is_fp8 and claim.dtype is not None and claim.dtype is not dtype:
        raise DtypeError(
            checkpoint.path,
            f"tensor {visible(claim.weight)} is {dtype.code}, "
            f"expected {claim.dtype.code}, which its quantization entry names",
            code="fp8-dtype",
            hint="programs cast such weights a second time and get other values; "
            "convert the file that it was made from",
        )


def _check_scale_dtype(checkpoint: Checkpoint, scale: TensorEntry) -> None:
    if scale.dtype not in _SCALE_DTYPES:
        raise DtypeError(
            checkpoint.path,
            f"tensor {visible(scale.name)} is {scale.dtype.code}, expected a scale in "
            f"F32, F16 or BF16",
            code="scale-dtype",
            hint="convert the file that it was made from",
        )


def _misfit(
    checkpoint: Checkpoint, weight: TensorEntry, scale: TensorEntry
) -> ShapeError:
    return ShapeError(
        checkpoint.path,
        f"scale {visible(scale.name)} {list(scale.shape)} does not fit weight "
        f"{visible(weight.name)} {list(weight.shape)}, expected one value, one per "
        f"row, or one per block",
        code="scale-shape",
        hint=ASSUME_HINT
        if fit(weight.shape, scale.shape, ANY)
        else "the file is damaged or uses a layout that is not read; convert the file "
        "that it was made from",
    )
