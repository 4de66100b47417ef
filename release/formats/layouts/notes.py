"""What is legal in a scaled layout and still worth a line to its user."""

from collections.abc import Sequence

from release.errors import first_names
from release.formats.checkpoint import Checkpoint
from release.formats.layouts.claims import Bound, Claim
from release.formats.layouts.names import Survey
from release.numeric.dtype import Dtype


def scaled_notes(
    checkpoint: Checkpoint, survey: Survey, claims: Sequence[Claim], bound: Bound
) -> tuple[str, ...]:
    """Return warnings about a file with scales, one line each, first word stable.

    Args:
        checkpoint: The file.
        survey: Of its names.
        claims: All that hold.
        bound: How their scales spread.
    """
    tensors = checkpoint.tensors
    unscaled = [name for name in survey.fp8 if name not in bound.scales]
    convolutions = [
        claim.weight for claim in claims if len(tensors[claim.weight].shape) > 2
    ]
    narrow = [
        claim.scale for claim in claims if tensors[claim.scale].dtype is not Dtype.F32
    ]
    notes = (
        (unscaled, "unscaled-fp8", "fp8 tensors have no scale and are read without"),
        (
            convolutions,
            "scaled-convolution",
            "scales belong to convolutions, which ComfyUI reads without their scale",
        ),
        (narrow, "narrow-scale", "scales are not F32, which ComfyUI fails on"),
        (
            list(bound.stored_as),
            "fp8-as-u8",
            "weights are fp8 stored as U8, which most programs do not read",
        ),
        (
            bound.assumed,
            "assumed-shapes",
            "weights have scales of a shape that is foreign to their layout",
        ),
    )
    return tuple(
        f"{word}: {len(names):,} {text}: {first_names(names)}"
        for names, word, text in notes
        if names
    )
