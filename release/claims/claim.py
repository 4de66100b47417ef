"""What a source says that one file is, and how far such a source is to be trusted."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from release.errors import visible
from release.numeric.digest import sha256

Kind = Literal[
    "named manifest",
    "manifest beside",
    "named sums",
    "sums beside",
    "header",
    "catalog",
    "hub",
    "autov2",
    "sha256",
    "archive",
]

SHA256_OF_NOTHING: Final = sha256(b"")
"""What faulty programs write in place of a digest; it says nothing."""

_NAMED: Final = "it is worth as much as the place that you have it from"
_BESIDE: Final = (
    "it came with the file: whoever could change the one could change the other"
)
_TRUST: Final[Mapping[Kind, str]] = {
    "named manifest": _NAMED,
    "manifest beside": _BESIDE,
    "named sums": _NAMED,
    "sums beside": _BESIDE,
    "header": "they lie in the file itself and prove nothing about who made it",
    "catalog": "it came with krelease",
    "hub": "it is worth as much as the Hub and the connection to it",
    "autov2": "40 bits tell apart what people meant to be different, nothing more",
    "sha256": _NAMED,
    "archive": "it lies in the file itself and proves nothing about who made it",
}


@dataclass(frozen=True, slots=True)
class Source:
    """Who says it.

    Attributes:
        kind: What it is; the order of `Kind` is not that of trust.
        label: What it is called in a sentence; safe for a terminal.
    """

    kind: Kind
    label: str

    @property
    def trust(self) -> str:
        """What its word is worth, as a clause."""
        return _TRUST[self.kind]

    @property
    def is_named(self) -> bool:
        """Whether the user chose it, so that every file must be one of those it names.

        What merely lies beside a file may be about other files.
        """
        return self.kind not in {"manifest beside", "sums beside", "header", "catalog"}


@dataclass(frozen=True, slots=True)
class TensorClaim:
    """What one tensor is.

    Attributes:
        name: Tensor name; foreign text.
        dtype: Code of the dtype, as in a header.
        shape: Dimensions, row-major.
        offset: Its first byte, counted from the start of the file.
        nbytes: Bytes of its data.
        xxh3_128: Of its data, 32 lower-case hex digits.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int
    xxh3_128: str


@dataclass(frozen=True, slots=True)
class Claim:
    """What a source says that one file is; None and empty where it says nothing.

    Attributes:
        source: Who says it.
        name: Path below the source's folder, with `/`; safe on any system.
        nbytes: Bytes of the file.
        xxh3_128: Of the whole file, 32 lower-case hex digits.
        sha256: Of the whole file, 64 lower-case hex digits.
        sha256_prefix: The first 10 of them (AutoV2).
        git_blob_id: SHA-1 that git names the whole file's content by, 40 digits.
        data_sha256: Of everything behind the header, 64 digits.
        header_nbytes: Bytes before the data, the length field included.
        header_xxh3_128: Of these bytes.
        tensor_set_xxh3_128: As `release.numeric.digest.tensor_set_digest`.
        tensors: All tensors, in the order of their data.
        chunks: xxh3_64 of every chunk of `release.numeric.digest.CHUNK_NBYTES` bytes,
            16 lower-case hex digits each. They locate damage and never accept a file.
        variant: Name of the preset; foreign text.
        release: Name of the release; foreign text.
    """

    source: Source
    name: str | None = None
    nbytes: int | None = None
    xxh3_128: str | None = None
    sha256: str | None = None
    sha256_prefix: str | None = None
    git_blob_id: str | None = None
    data_sha256: str | None = None
    header_nbytes: int | None = None
    header_xxh3_128: str | None = None
    tensor_set_xxh3_128: str | None = None
    tensors: tuple[TensorClaim, ...] = ()
    chunks: tuple[str, ...] = ()
    variant: str | None = None
    release: str | None = None

    @property
    def file_name(self) -> str | None:
        """The last part of `name`."""
        return None if self.name is None else self.name.rpartition("/")[2]


def source_of_file(kind: Kind, path: Path) -> Source:
    """Return the source that a file is, called by its path."""
    label = visible(path, 1024) if kind.startswith("named") else visible(path.name)
    return Source(kind, label)
