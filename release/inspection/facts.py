"""Facts about a checkpoint that follow from names, dtypes, shapes and metadata."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from release.architecture.contents import Part, part_of
from release.architecture.sdxl import component_of, sdxl_tensors
from release.formats.tensor import TensorEntry
from release.inspection.report import MetadataEntry, PartReport, Prediction
from release.numeric.dtype import Dtype
from release.privacy import private_reason

PREDICTION_KEYS: Final = ("modelspec.prediction_type", "predict_key")
"""Metadata that states what the network predicts."""
_PREDICTION_WORDS: Final = {
    "epsilon": "epsilon",
    "eps": "epsilon",
    "v": "v",
    "v_prediction": "v",
}
_EPSILON_ARCHITECTURES: Final = frozenset({"sdxl", "sd1"})


def parts_of(
    tensors: Mapping[str, TensorEntry], *, auxiliary: Collection[str]
) -> tuple[PartReport, ...]:
    """Return what each part holds, in the order of `Part`.

    Args:
        tensors: A whole checkpoint.
        auxiliary: Scales and markers, which are no parameters.
    """
    members: dict[Part, list[TensorEntry]] = {part: [] for part in Part}
    for name, entry in tensors.items():
        members[part_of(name)].append(entry)
    return tuple(
        _part_report(part, entries, auxiliary)
        for part, entries in members.items()
        if entries
    )


def _part_report(
    part: Part, entries: list[TensorEntry], auxiliary: Collection[str]
) -> PartReport:
    weights = [entry for entry in entries if entry.name not in auxiliary]
    return PartReport(
        part=part,
        n_tensors=len(entries),
        n_parameters=sum(entry.n_elements for entry in weights),
        nbytes=sum(entry.nbytes for entry in entries),
        nbytes_at_16_bits=sum(
            2 * entry.n_elements if entry.dtype.is_arithmetic else entry.nbytes
            for entry in weights
        ),
        dtypes=dict(Counter(entry.dtype.code for entry in entries).most_common()),
    )


def prediction_of(
    names: Collection[str], metadata: Mapping[str, str], architecture: str
) -> Prediction:
    """Return what the network predicts, as programs tell it.

    Markers go first, since programs look at nothing else; then what metadata states.

    Args:
        names: All tensors.
        metadata: Of the header.
        architecture: As `release.architecture.sdxl.detect` names it. Programs take SDXL
            and SD1 without any sign for epsilon; SD2 was made in both kinds.

    Source:
        ComfyUI, `supported_models.py`, `SDXL.model_type`.
    """
    zero_snr = "ztsnr" in names
    for kind, marker in (
        ("edm", "edm_mean"),
        ("edm-v", "edm_vpred.sigma_max"),
        ("v", "v_pred"),
    ):
        if marker in names:
            return Prediction(kind, f"tensor {marker}", zero_snr)
    for key in PREDICTION_KEYS:
        kind = stated_prediction(metadata.get(key, ""))
        if kind:
            return Prediction(kind, f"metadata {key}", zero_snr)
    if architecture in _EPSILON_ARCHITECTURES:
        return Prediction("epsilon", "nothing says otherwise", zero_snr)
    return Prediction("unknown", "nothing says it", zero_snr)


def stated_prediction(text: str) -> str:
    """Return "epsilon" or "v" for any program's word for it, "" for other words."""
    return _PREDICTION_WORDS.get(text.lower(), "")


def main_dtype(entries: Iterable[TensorEntry]) -> Dtype | None:
    """Return the floating dtype of most parameters; None where there are none."""
    sizes: Counter[Dtype] = Counter()
    for entry in entries:
        if entry.dtype.is_arithmetic:
            sizes[entry.dtype] += entry.n_elements
    return max(sizes, key=lambda dtype: sizes[dtype]) if sizes else None


def missing_tensors(
    names: Collection[str], architecture: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the needed and the optional tensors that a checkpoint lacks.

    Only parts of which there is something are looked at, so that a U-Net alone is
    complete. Architectures other than SDXL have no table.
    """
    if architecture != "sdxl":
        return (), ()
    present = {component_of(name) for name in names}
    missing = [
        entry
        for entry in sdxl_tensors()
        if entry.name not in names and component_of(entry.name) in present
    ]
    return (
        tuple(entry.name for entry in missing if not entry.optional),
        tuple(entry.name for entry in missing if entry.optional),
    )


def metadata_entries(metadata: Mapping[str, str]) -> tuple[MetadataEntry, ...]:
    """Return the entries of a header's metadata by key, with what they give away."""
    return tuple(
        MetadataEntry(key, value, private_reason(key, value))
        for key, value in sorted(metadata.items())
    )
