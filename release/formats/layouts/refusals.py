"""Files whose scales cannot be read with certainty, and why each is refused."""

from collections.abc import Sequence
from typing import Final

from release.errors import CheckpointError, TensorMismatchError, first_names, visible
from release.formats.checkpoint import Checkpoint
from release.formats.layouts.claims import ASSUME_HINT, Claim
from release.formats.layouts.comfy import METADATA_KEY
from release.formats.layouts.names import (
    COMFY_QUANT,
    INPUT_SCALES,
    INVERSE_SCALE,
    LEGACY_SCALE,
    MARKER,
    SCALE,
    UNREAD,
    Survey,
    member,
)

_LACKING: Final = {
    LEGACY_SCALE: f"a {MARKER} marker",
    SCALE: f".{COMFY_QUANT} tensors, {METADATA_KEY} in the header, or a "
    f"quantization_config in the config.json beside the file",
    INVERSE_SCALE: "a quantization_config in the config.json beside the file",
}


def check_mixture(checkpoint: Checkpoint, survey: Survey, *, header: bool) -> None:
    """Refuse names of ComfyUI's earlier layout beside entries of its current one.

    ComfyUI renames the earlier ones only in files without entries in the header, so
    such a file loads with weights that are wrong by their scale.

    Args:
        checkpoint: The file.
        survey: Of its names.
        header: Whether the header holds entries.

    Raises:
        TensorMismatchError: `mixed-layouts`.
    """
    old = [
        member(module, part)
        for part in (MARKER, LEGACY_SCALE)
        for module in survey.having(part)
    ]
    if old and (header or survey.having(COMFY_QUANT)):
        current = METADATA_KEY if header else f".{COMFY_QUANT}"
        raise TensorMismatchError(
            checkpoint.path,
            f"holds {current} and {len(old):,} tensors of the earlier layout "
            f"({first_names(old)}), expected one layout",
            code="mixed-layouts",
            hint="two programs have written to this file; get it from its author",
        )


def check_unread(
    checkpoint: Checkpoint, survey: Survey, claims: Sequence[Claim]
) -> None:
    """Refuse weights that need more than a scale.

    Raises:
        CheckpointError: `unread-quantization`.
    """
    quantised = {claim.module for claim in claims} | set(survey.fp8_modules())
    found = [
        member(module, part)
        for part in UNREAD
        for module in survey.having(part)
        if module in quantised
    ]
    if found:
        raise CheckpointError(
            checkpoint.path,
            f"holds {first_names(found)} beside quantised weights, expected nothing "
            f"but scales",
            code="unread-quantization",
            hint="convert the file that it was made from",
        )


def check_explained(
    checkpoint: Checkpoint,
    survey: Survey,
    claims: Sequence[Claim],
    orphans: Sequence[Claim],
) -> None:
    """Refuse scales that nothing explains.

    Args:
        checkpoint: The file.
        survey: Of its names.
        claims: All scales of weights.
        orphans: Those of them that nothing explains.

    Raises:
        TensorMismatchError: `orphan-scales`.
    """
    if orphans:
        names = [claim.scale for claim in orphans]
        lacking = _LACKING[names[0].rpartition(".")[2]]
        raise TensorMismatchError(
            checkpoint.path,
            f"holds {len(names):,} scales that nothing explains ({first_names(names)}),"
            f" expected {lacking}",
            code="orphan-scales",
            hint=ASSUME_HINT,
        )
    unscaled = set(survey.fp8_modules()) - {claim.module for claim in claims}
    for part in INPUT_SCALES:
        for module in survey.having(part):
            if module in unscaled:
                raise TensorMismatchError(
                    checkpoint.path,
                    f"holds {visible(member(module, part))} and no scale for the fp8 "
                    f"weight itself, expected both",
                    code="orphan-scales",
                    hint="the file is incomplete; get it from its author, or pass "
                    "--assume-scaled to read the weight without a scale",
                )
