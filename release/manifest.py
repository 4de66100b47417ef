"""The manifest: everything that was measured about a release, and nothing else.

`manifest.json` is the commit mark of a release folder and the only source of facts for
cards and reports. Canonical JSON: sorted keys, no floats (figures are decimal strings),
so equal releases have equal manifests.
"""

import json
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from release.errors import IntegrityError, visible

MANIFEST_NAME: Final = "manifest.json"
CARD_NAME: Final = "README.md"
LICENCE_NAME: Final = "LICENSE"
SCHEMA: Final = "krelease.manifest/1"
MAX_MANIFEST_NBYTES: Final = 64 * 1024 * 1024

Xxh128Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Sha256Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Figure = Annotated[str, StringConstraints(pattern=r"^(-?[0-9.]+(e[+-]?[0-9]+)?|inf)$")]
Count = Annotated[int, Field(ge=0)]


class _Record(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, populate_by_name=True
    )


class TensorRecord(_Record):
    """One tensor of a published checkpoint.

    `offset` is the absolute position of its first byte in the file.
    """

    name: str
    dtype: str
    shape: Annotated[tuple[int, ...], Field(strict=False)]
    offset: Count
    nbytes: Count
    xxh3_128: Xxh128Hex


class ParityRecord(_Record):
    """How far a variant is from the float64 result, over one component or the whole.

    `snr_db` is 20 log10(|w| / |w - w'|) in dB, "inf" when nothing was lost; `clamped`
    and `flushed` count elements moved to the finite range's edge, and to zero.
    """

    n_tensors: Count
    n_elements: Count
    max_abs_error: Figure
    snr_db: Figure
    clamped: Count
    flushed: Count


class FileRecord(_Record):
    """A file of the release folder. `name` is relative, with no folder part."""

    name: str
    role: Literal["archive", "card", "licence", "picture", "sums"]
    nbytes: Count
    xxh3_128: Xxh128Hex
    sha256: Sha256Hex
    members: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Names inside, for an archive."""


class MeasuredRecord(_Record):
    """A checkpoint as it was written and measured.

    `chunks` is one xxh3_64 (16 hex digits) for every `chunk_nbytes` of the file, header
    included, joined in file order; it locates damage, it never accepts a file.
    """

    name: str
    variant: str
    nbytes: Count
    xxh3_128: Xxh128Hex
    data_sha256: Sha256Hex
    header_nbytes: Count
    header_xxh3_128: Xxh128Hex
    tensor_set_xxh3_128: Xxh128Hex
    dtypes: dict[str, Count]
    parity: ParityRecord
    components: dict[str, ParityRecord]
    chunk_nbytes: Count
    chunks: str
    tensors: Annotated[tuple[TensorRecord, ...], Field(strict=False)]


class CheckpointRecord(MeasuredRecord):
    """A published checkpoint: one variant of the release."""

    role: Literal["checkpoint"] = "checkpoint"
    sha256: Sha256Hex


class IngredientRecord(_Record):
    """An ingredient as it was read: what its bytes were, not where they lay."""

    name: str
    title: str
    nbytes: Count
    dtypes: dict[str, Count]
    tensor_set_xxh3_128: Xxh128Hex
    sha256: Sha256Hex | None = None
    hub: str | None = None
    commit: str | None = None
    licence: str | None = None
    licence_reason: str | None = None
    """Why the licence has no say in the release's; None where it has."""
    stand_in: bool = False


class RecipeRecord(_Record):
    """The recipe that was applied. `sha256` is the identity of its canonical form."""

    canonical: str
    sha256: Sha256Hex
    convention: str
    output: str
    steps: dict[str, str]
    rows: dict[str, dict[str, str]]
    """Block name -> ingredient -> exact decimal coefficient."""


class AuditRecord(_Record):
    """What an audit of a checkpoint of the release against its recipe found.

    `sentence` says it in one line. Equal values are bit for bit what the recipe gives;
    near ones are neighbours of that; only `n_compared` tensors and `n_compared_values`
    of their values were compared.
    """

    checkpoint: str
    sentence: str
    is_whole: bool
    """Whether every value was compared, or a sample."""
    n_tensors: Count
    n_compared: Count
    n_equal_tensors: Count
    n_near_tensors: Count
    n_values: Count
    n_sampled_values: Count
    n_compared_values: Count
    n_equal_values: Count
    n_near_values: Count


class Manifest(_Record):
    """A whole release folder."""

    schema_name: Annotated[Literal["krelease.manifest/1"], Field(alias="schema")]
    release: str
    title: str
    tag: str
    architecture: str
    rehearsal: bool
    """True when an ingredient was a stand-in: not weights to make images with."""
    recipe: RecipeRecord
    ingredients: Annotated[tuple[IngredientRecord, ...], Field(strict=False)]
    checkpoints: Annotated[tuple[CheckpointRecord, ...], Field(strict=False)]
    files: Annotated[tuple[FileRecord, ...], Field(strict=False)] = ()
    audit: AuditRecord | None = None

    def to_json(self) -> str:
        """Return the canonical text: sorted keys, one final newline."""
        document = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return json.dumps(document, sort_keys=True, indent=1, ensure_ascii=True) + "\n"


def read_manifest(path: Path) -> Manifest:
    """Read and validate a manifest.

    Raises:
        IntegrityError: Not a manifest of this schema; the message names the key path.
    """
    if path.stat().st_size > MAX_MANIFEST_NBYTES:
        raise IntegrityError(
            f"{visible(path, 1024)}: larger than {MAX_MANIFEST_NBYTES:,} bytes",
            code="manifest-too-large",
            hint="it is not a manifest of krelease: build the release again",
        )
    return parse_manifest(path.read_bytes(), path)


def parse_manifest(text: bytes, path: Path) -> Manifest:
    """Validate a manifest.

    Args:
        text: JSON.
        path: Where it was read, for messages.

    Raises:
        IntegrityError: As `read_manifest`.
    """
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "top level"
        raise IntegrityError(
            f"{visible(path, 1024)}: {visible(place)}: {visible(first['msg'])}",
            code="manifest",
            hint=f"this version reads {SCHEMA}",
        ) from error
    if not manifest.checkpoints:
        raise IntegrityError(
            f"{visible(path, 1024)}: checkpoints: names none, so there is nothing to "
            "check",
            code="manifest",
            hint="build the release again",
        )
    return manifest
