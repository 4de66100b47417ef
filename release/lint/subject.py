"""What is linted: a card, and the facts of the files that lie beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from release.architecture.contents import Part, part_of
from release.architecture.sdxl import detect
from release.definition import Definition
from release.formats.tensor import TensorEntry
from release.licences.combine import Part as LicencePart
from release.licences.known import canonical_licence
from release.lint.card import Card
from release.manifest import CARD_NAME, Manifest

if TYPE_CHECKING:
    from release.hub.opinion import HubRemark

WEIGHT_SUFFIXES: Final = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf")
_MARKERS: Final = ("v_pred", "ztsnr")


@dataclass(frozen=True, slots=True)
class Weights:
    """What a checkpoint's header says.

    Attributes:
        dtypes: Dtype code -> bytes of the tensors that have it.
        n_parameters: Elements of all tensors, and of each part that is there.
        metadata: The header's; foreign text.
        markers: Tensors that tell a program how to use the model: "v_pred", "ztsnr".
        architecture: As `release.architecture.sdxl.detect` names it.
    """

    dtypes: Mapping[str, int]
    n_parameters: Mapping[str, int]
    metadata: Mapping[str, str]
    markers: frozenset[str]
    architecture: str


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file beside the card; what is not known is None.

    `data_sha256` is the SHA-256 of a checkpoint's data, without its header; `members`
    are the names inside of a zip.
    """

    name: str
    nbytes: int
    sha256: str | None = None
    data_sha256: str | None = None
    weights: Weights | None = None
    members: tuple[str, ...] = ()

    @property
    def is_weights(self) -> bool:
        """Whether it holds weights, by its name."""
        return self.name.lower().endswith(WEIGHT_SUFFIXES)


@dataclass(frozen=True)
class Subject:
    """What the rules look at.

    Attributes:
        card: The card.
        card_name: What findings call it.
        files: Files beside the card, by name; None if nothing is known of them.
        licence_file: Name and bytes of the licence's text, if such a file is there.
        manifest: Of the release folder, if it is one.
        definition: Of the release, where it is being built.
        bases: Its base models on the Hub whose cards state a known licence.
        remarks: What the Hub says about the front matter, where it was asked.
        absent_ids: Field and id of what the card names and the Hub does not have.
    """

    card: Card
    card_name: str = CARD_NAME
    files: Mapping[str, FileFacts] | None = None
    licence_file: tuple[str, bytes] | None = None
    manifest: Manifest | None = None
    definition: Definition | None = None
    bases: tuple[LicencePart, ...] = ()
    remarks: "tuple[HubRemark, ...]" = ()
    absent_ids: frozenset[tuple[str, str]] = frozenset()

    @cached_property
    def weights(self) -> dict[str, FileFacts]:
        """The files that hold weights, by name."""
        files = (self.files or {}).items()
        return {name: file for name, file in files if file.is_weights}

    @cached_property
    def licence(self) -> str:
        """The licence that the front matter states, canonical; "" for none."""
        return stated_licence(self.card)

    @property
    def licence_line(self) -> int:
        """The line that states the licence; 1 without one."""
        front = self.card.front
        return max(front.line_of("license_name"), front.line_of("license"))

    @cached_property
    def architectures(self) -> frozenset[str]:
        """The architectures of the files whose headers are known."""
        known = (file.weights for file in self.weights.values())
        return frozenset(weights.architecture for weights in known if weights)


def stated_licence(card: Card) -> str:
    """Return the licence that a card's front matter states, canonical; "" for none."""
    stated = card.fields.get("license")
    if stated == "other":
        stated = card.fields.get("license_name")
    if not isinstance(stated, str) or stated == "unknown":
        return ""
    return canonical_licence(stated)


def weights_of(
    tensors: Mapping[str, TensorEntry], metadata: Mapping[str, str]
) -> Weights:
    """Return what a checkpoint's tensors and metadata say."""
    dtypes: dict[str, int] = {}
    counts: dict[str, int] = {}
    total = 0
    for name, entry in tensors.items():
        code = entry.dtype.code
        dtypes[code] = dtypes.get(code, 0) + entry.nbytes
        part = part_of(name)
        counts[part.value] = counts.get(part.value, 0) + entry.n_elements
        total += 0 if part is Part.EMA else entry.n_elements
    return Weights(
        dtypes=dtypes,
        n_parameters={"all": total, **counts},
        metadata=dict(metadata),
        markers=frozenset(name for name in _MARKERS if name in tensors),
        architecture=detect({name: entry.shape for name, entry in tensors.items()}),
    )
