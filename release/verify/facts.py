"""What a file's header says of itself, and what its own tensors say against it.

Nothing of the data is read but quantization entries and scales of one element. Shards
say little: what one of them lacks may stand in another.
"""

from typing import Final

from release.architecture.sdxl import detect
from release.errors import CheckpointError, visible
from release.formats.checkpoint import Checkpoint
from release.formats.layouts.detect import layout_of
from release.formats.layouts.kinds import Layout
from release.formats.sharded import is_shard_name
from release.inspection.facts import (
    PREDICTION_KEYS,
    prediction_of,
    stated_prediction,
)
from release.verify.finding import Finding
from release.verify.stated_dtypes import dtype_findings
from release.verify.stated_hashes import empty_hash_findings

_ARCHITECTURE_KEY: Final = "modelspec.architecture"
_FAMILIES: Final = {
    "sdxl": "stable-diffusion-xl-",
    "sd1": "stable-diffusion-v1",
    "sd2": "stable-diffusion-v2",
}
"""Architecture -> how ModelSpec's identifiers for it begin."""
_REFUTED: Final = {("v", "epsilon"), ("edm-v", "epsilon"), ("edm", "v")}
"""What a marker says, and what metadata must not say beside it."""


def header_findings(checkpoint: Checkpoint) -> tuple[Finding, ...]:
    """Return what is odd about a file, told from its header.

    Args:
        checkpoint: Open; for a member of an archive its path ends in the member's name.

    Raises:
        InputError: The file changed or cannot be read.
    """
    data_nbytes = sum(entry.nbytes for entry in checkpoint.tensors.values())
    findings = [
        *_reader_findings(checkpoint.warnings),
        *empty_hash_findings(checkpoint.metadata, data_nbytes=data_nbytes),
    ]
    if is_shard_name(checkpoint.path.name):
        return tuple(findings)
    architecture = detect(
        {name: entry.shape for name, entry in checkpoint.tensors.items()}
    )
    layout, layout_findings = _layout_findings(checkpoint)
    return (
        *findings,
        *_prediction_findings(checkpoint, architecture),
        *_architecture_findings(checkpoint, architecture),
        *layout_findings,
        *dtype_findings(
            checkpoint.path.name,
            checkpoint.metadata,
            checkpoint.tensors,
            architecture=architecture,
            layout=layout,
        ),
    )


def _reader_findings(warnings: tuple[str, ...]) -> tuple[Finding, ...]:
    """Turn lines that begin with a stable word into findings."""
    parts = (line.partition(": ") for line in warnings)
    return tuple(Finding(code, "warning", text) for code, _, text in parts)


def _prediction_findings(
    checkpoint: Checkpoint, architecture: str
) -> tuple[Finding, ...]:
    """Compare what metadata states with the markers, which most programs obey alone."""
    stated = {
        key: stated_prediction(checkpoint.metadata.get(key, ""))
        for key in PREDICTION_KEYS
    }
    stated = {key: kind for key, kind in stated.items() if kind}
    # Without metadata and architecture nothing but a marker can say it.
    marked = prediction_of(checkpoint.tensors.keys(), {}, "unknown")
    if marked.kind != "unknown":
        return tuple(
            Finding(
                "prediction-type",
                "error",
                f"metadata {key} says {kind}, {visible(marked.source)} says "
                f"{marked.kind}: programs obey the tensor",
            )
            for key, kind in stated.items()
            if (marked.kind, kind) in _REFUTED
        )
    if len(set(stated.values())) > 1:
        said = " and ".join(f"{key} says {kind}" for key, kind in stated.items())
        return (Finding("prediction-type", "error", f"metadata {said}"),)
    if architecture == "sdxl" and "v" in stated.values():
        return (
            Finding(
                "prediction-unmarked",
                "warning",
                f"metadata {next(iter(stated))} says v, and there is no tensor v_pred: "
                f"programs that look for the tensor make wrong images",
            ),
        )
    return ()


def _architecture_findings(
    checkpoint: Checkpoint, architecture: str
) -> tuple[Finding, ...]:
    """Find the identifier of another family; other words are not judged."""
    text = checkpoint.metadata.get(_ARCHITECTURE_KEY, "").lower()
    others = (
        prefix
        for family, prefix in _FAMILIES.items()
        if architecture in _FAMILIES and family != architecture
    )
    if not any(text.startswith(prefix) for prefix in others):
        return ()
    return (
        Finding(
            "architecture",
            "error",
            f"metadata {_ARCHITECTURE_KEY} says {visible(text, 80)}, the tensors are "
            f"those of {architecture}",
        ),
    )


def _layout_findings(
    checkpoint: Checkpoint,
) -> tuple[Layout | None, tuple[Finding, ...]]:
    """Return the layout of fp8 weights, None if no program could tell it."""
    try:
        layout = layout_of(checkpoint)
    except CheckpointError as error:
        if error.code in {"input-changed", "read-failed"}:
            raise
        return None, (Finding(error.code, "error", error.reason),)
    return layout, _reader_findings(layout.warnings)
