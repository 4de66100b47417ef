"""What an inspection finds, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from release.architecture.contents import Contents, Part

UNREADABLE: Final = "unreadable"
"""Name of a layout whose weights cannot be told from its tensors."""


@dataclass(frozen=True, slots=True)
class PartReport:
    """One part of a checkpoint.

    Attributes:
        part: Which.
        n_tensors: Its tensors, scales and markers included.
        n_parameters: Elements of its tensors, without scales and markers.
        nbytes: Bytes as stored: what its weights need in memory when loaded so.
        nbytes_at_16_bits: Bytes when loaded as float16 or bfloat16.
        dtypes: Dtype code -> number of tensors.
    """

    part: Part
    n_tensors: int
    n_parameters: int
    nbytes: int
    nbytes_at_16_bits: int
    dtypes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class LayoutReport:
    """How fp8 weights are stored.

    `name` is a stable word, `title` one line for people. For a layout that cannot be
    read, `name` is `UNREADABLE` and `title` the reason.
    """

    name: str
    title: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the network predicts.

    Attributes:
        kind: "epsilon", "v", "edm", "edm-v", or "unknown" where nothing says it.
        source: What says so: a tensor, a metadata key, or the want of any.
        zero_terminal_snr: Whether the marker `ztsnr` is there.
    """

    kind: str
    source: str
    zero_terminal_snr: bool


@dataclass(frozen=True, slots=True)
class PositionIds:
    """State of one `position_ids` tensor, which must hold 0, 1, 2 ... in order."""

    name: str
    dtype: str
    is_right: bool
    detail: str


@dataclass(frozen=True, slots=True)
class MetadataEntry:
    """One entry of the header's metadata.

    `value` is foreign text. `private` says what the entry gives away, or is "".
    """

    key: str
    value: str
    private: str


@dataclass(frozen=True, slots=True)
class Advice:
    """A conversion that makes sense; `nbytes` is about the size of its result."""

    to: str
    nbytes: int
    reason: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a file is.

    Attributes:
        path: What was named.
        container: Kind of file or folder, a few words.
        n_files: Files that belong to it.
        nbytes: Bytes of all of them.
        architecture: As `release.architecture.sdxl.detect` names it.
        contents: A whole model, a part, an adapter.
        parts: The parts that are there, in the order of `Part`.
        layout: How fp8 weights are stored; None where there are none.
        prediction: What the network predicts.
        position_ids: Every such tensor; none is legal.
        missing: Tensors that the parts at hand lack and programs need.
        missing_optional: Tensors that they lack and programs can do without.
        metadata: By key.
        findings: What the user should know, one line each, beginning with a stable
            word; the reader's warnings are among them.
        advice: Conversions that make sense, the best one first.
        advice_note: Why there are none, or what to know before; may be empty.
    """

    path: Path
    container: str
    n_files: int
    nbytes: int
    architecture: str
    contents: Contents
    parts: tuple[PartReport, ...]
    layout: LayoutReport | None
    prediction: Prediction
    position_ids: tuple[PositionIds, ...]
    missing: tuple[str, ...]
    missing_optional: tuple[str, ...]
    metadata: tuple[MetadataEntry, ...]
    findings: tuple[str, ...]
    advice: tuple[Advice, ...]
    advice_note: str

    @property
    def loaded(self) -> tuple[PartReport, ...]:
        """The parts that programs load to make images: all but EMA."""
        return tuple(part for part in self.parts if part.part is not Part.EMA)

    @property
    def n_tensors(self) -> int:
        """Number of all tensors."""
        return sum(part.n_tensors for part in self.parts)

    @property
    def n_parameters(self) -> int:
        """Elements of all tensors, without scales and markers."""
        return sum(part.n_parameters for part in self.parts)
