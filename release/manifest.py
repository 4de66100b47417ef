"""The manifest: everything that was measured about a release, and nothing else.

`manifest.json` is the commit mark of a release folder and the only source of facts for
cards and reports. Canonical JSON: sorted keys, no floats (figures are decimal strings),
so equal releases have equal manifests.
"""

import json
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from release.errors import IntegrityError, visible
from release.formats.input import InputFile

CARD_NAME: Final = "README.md"
SCHEMA: Final = "krelease.manifest/1"
CONVERSION_SCHEMA: Final = "krelease.conversion/1"
MAX_MANIFEST_NBYTES: Final = 64 * 1024 * 1024
MAX_MANIFEST_FILES: Final = 10_000
"""Files of one release; a manifest that names more was made to keep somebody busy."""

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

    `blocks` is component -> block -> the share of its tensors in `components`; blocks
    are named as by `release.recipe.blocks`. `chunks` is one xxh3_64 (16 hex digits) for
    every `chunk_nbytes` of the file, header included, joined in file order; it locates
    damage, it never accepts a file.
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
    blocks: dict[str, dict[str, ParityRecord]] = {}
    """Empty in manifests of before it was kept."""
    chunk_nbytes: Count
    chunks: str
    tensors: Annotated[tuple[TensorRecord, ...], Field(strict=False)]


class WrittenRecord(MeasuredRecord):
    """A checkpoint that was written; `sha256` only where it was asked for."""

    sha256: Sha256Hex | None = None


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
    licence_file: str | None = None
    """The file of the release with its text, where that is another than LICENSE."""
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
        InputError: It is no regular file, or cannot be read.
        IntegrityError: Not a manifest of this schema; the message names the key path.
            Or it names no checkpoint, or more than `MAX_MANIFEST_FILES` files.
    """
    return parse_manifest(read_manifest_text(path), path)


def read_manifest_text(path: Path) -> bytes:
    """Return the bytes of a manifest, or of a record beside a checkpoint.

    Raises:
        InputError: It is no regular file, or cannot be read.
        IntegrityError: `manifest-too-large`.
    """
    with InputFile(path) as file:
        if file.nbytes > MAX_MANIFEST_NBYTES:
            raise IntegrityError(
                f"{visible(path, 1024)}: larger than {MAX_MANIFEST_NBYTES:,} bytes",
                code="manifest-too-large",
                hint="it is not a manifest of krelease: build the release again",
            )
        return file.read(0, file.nbytes)


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
        raise manifest_fault(error, path, schema=SCHEMA) from error
    n_files = len(manifest.checkpoints) + len(manifest.files)
    if not manifest.checkpoints:
        reason = "checkpoints: names none, so there is nothing to check"
    elif n_files > MAX_MANIFEST_FILES:
        reason = f"names {n_files:,} files, expected at most {MAX_MANIFEST_FILES:,}"
    else:
        return manifest
    raise IntegrityError(
        f"{visible(path, 1024)}: {reason}",
        code="manifest",
        hint="build the release again",
    )


_EXPECTED: Final = {
    "int_type": "expected a whole number",
    "float_type": "expected a number",
    "bool_type": "expected true or false",
    "string_type": "expected a text",
    "string_pattern_mismatch": "expected another form of text",
    "tuple_type": "expected a list",
    "list_type": "expected a list",
    "dict_type": "expected an object",
    "model_type": "expected an object",
}
"""What a field has to be, by pydantic's name of the fault."""


def _told(fault: ErrorDetails) -> str:
    """Return what is wrong with a field, in the words of all other messages."""
    if fault["type"] == "json_invalid":
        return "is no JSON, expected one object; it was cut, or edited by hand"
    if fault["type"] == "missing":
        return "is not there, expected a value"
    if fault["type"] == "extra_forbidden":
        return "is no field of this schema"
    expected = _EXPECTED.get(fault["type"])
    if expected is None:
        return visible(fault["msg"])
    value = fault["input"]
    got = visible(repr(value), 60)
    if isinstance(value, dict | list | tuple):
        got = f"{len(value):,} values"
    return f"got {got}, {expected}"


def manifest_fault(
    error: ValidationError, path: Path, *, schema: str
) -> IntegrityError:
    """Return the error for a document that is not of the `schema` that is read here.

    The schema is looked at first: what a newer one holds beside it cannot be right.
    """
    faults = error.errors(include_url=False, include_context=False)
    first = next((each for each in faults if each["loc"] == ("schema",)), faults[0])
    hint = f"this version reads {schema}"
    if first["loc"] == ("schema",) and isinstance(first["input"], str):
        reason = f"schema is {visible(first['input'], 80)}, expected {schema}"
        if first["input"].startswith(schema.rpartition("/")[0] + "/"):
            hint = "it was written by a newer krelease: update this one"
    else:
        place = ".".join(str(part) for part in first["loc"]) or "top level"
        reason = f"{visible(place)}: {_told(first)}"
    return IntegrityError(
        f"{visible(path, 1024)}: {reason}", code="manifest", hint=hint
    )
