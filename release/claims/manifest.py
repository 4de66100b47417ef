"""Claims of a release's manifest, and of the record beside a converted checkpoint."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from release.claims.claim import Claim, Source, TensorClaim
from release.errors import IntegrityError, visible
from release.formats.paths import safe_relative_paths
from release.manifest import (
    CONVERSION_SCHEMA,
    MAX_MANIFEST_FILES,
    SCHEMA,
    CheckpointRecord,
    FileRecord,
    MeasuredRecord,
    WrittenRecord,
    manifest_fault,
    parse_manifest,
    read_manifest_text,
)
from release.numeric.digest import CHUNK_NBYTES

_CHUNK_DIGITS: Final = 16
_MANIFEST_MARK: Final = f'"{SCHEMA.rpartition("/")[0]}/'.encode()
_CONVERSION_MARK: Final = f'"{CONVERSION_SCHEMA.rpartition("/")[0]}/'.encode()


class _Conversion(BaseModel):
    """What a record of a conversion says about files; the rest is about its quality."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    schema_name: Annotated[Literal["krelease.conversion/1"], Field(alias="schema")]
    files: Annotated[
        tuple[WrittenRecord, ...], Field(strict=False, max_length=MAX_MANIFEST_FILES)
    ]


def is_of_krelease(path: Path) -> bool:
    """Return whether a file looks like a manifest of krelease, of any version.

    Raises:
        InputError: It is no regular file, or cannot be read.
        IntegrityError: `manifest-too-large`.
    """
    return _MANIFEST_MARK in read_manifest_text(path)


def read_manifest_claims(path: Path, source: Source) -> tuple[Claim, ...]:
    """Return what a manifest, or the record of a conversion, says about its files.

    Raises:
        InputError: It is no regular file, or cannot be read.
        IntegrityError: `manifest` or `manifest-too-large`; `path` for a name that
            leaves the folder.
    """
    return parse_manifest_claims(read_manifest_text(path), path, source)


def parse_manifest_claims(text: bytes, path: Path, source: Source) -> tuple[Claim, ...]:
    """Return the claims of a manifest or record that was read.

    Args:
        text: JSON.
        path: Where it was read, for messages.
        source: Who says it.

    Raises:
        IntegrityError: As `read_manifest_claims`.
    """
    if _CONVERSION_MARK in text:
        try:
            record = _Conversion.model_validate_json(text)
        except ValidationError as error:
            raise manifest_fault(error, path, schema=CONVERSION_SCHEMA) from error
        return _claims_of(path, source, record.files, ())
    manifest = parse_manifest(text, path)
    return _claims_of(
        path, source, manifest.checkpoints, manifest.files, release=manifest.release
    )


def _claims_of(
    path: Path,
    source: Source,
    checkpoints: Sequence[CheckpointRecord | WrittenRecord],
    files: Sequence[FileRecord],
    *,
    release: str | None = None,
) -> tuple[Claim, ...]:
    safe_relative_paths(record.name for record in (*checkpoints, *files))
    for record in checkpoints:
        _check(path, record)
    return (
        *(_of_checkpoint(source, record, release) for record in checkpoints),
        *(_of_file(source, record, release) for record in files),
    )


def _of_file(source: Source, record: FileRecord, release: str | None) -> Claim:
    return Claim(
        source,
        name=record.name,
        nbytes=record.nbytes,
        xxh3_128=record.xxh3_128,
        sha256=record.sha256,
        release=release,
    )


def _of_checkpoint(
    source: Source, record: CheckpointRecord | WrittenRecord, release: str | None
) -> Claim:
    digits = range(0, len(record.chunks), _CHUNK_DIGITS)
    return Claim(
        source,
        name=record.name,
        nbytes=record.nbytes,
        xxh3_128=record.xxh3_128,
        sha256=record.sha256,
        data_sha256=record.data_sha256,
        header_nbytes=record.header_nbytes,
        header_xxh3_128=record.header_xxh3_128,
        tensor_set_xxh3_128=record.tensor_set_xxh3_128,
        tensors=tuple(
            TensorClaim(
                each.name,
                each.dtype,
                each.shape,
                each.offset,
                each.nbytes,
                each.xxh3_128,
            )
            for each in record.tensors
        ),
        chunks=tuple(record.chunks[at : at + _CHUNK_DIGITS] for at in digits),
        variant=record.variant,
        release=release,
    )


def _check(path: Path, record: MeasuredRecord) -> None:
    """Refuse what does not add up: places are read and repaired by these numbers.

    Raises:
        IntegrityError: `manifest`.
    """
    place = f"{visible(path, 1024)}: {visible(record.name)}"
    n_chunks = -(-record.nbytes // CHUNK_NBYTES)
    if record.chunk_nbytes != CHUNK_NBYTES:
        raise _fault(
            f"{place}: chunk_nbytes is {record.chunk_nbytes:,}, expected "
            f"{CHUNK_NBYTES:,}"
        )
    if len(record.chunks) != n_chunks * _CHUNK_DIGITS or not record.chunks.isascii():
        raise _fault(
            f"{place}: chunks has {len(record.chunks):,} digits, expected "
            f"{n_chunks * _CHUNK_DIGITS:,} for {record.nbytes:,} bytes"
        )
    position = record.header_nbytes
    for tensor in sorted(record.tensors, key=lambda each: (each.offset, each.nbytes)):
        if tensor.offset != position:
            raise _fault(
                f"{place}: tensor {visible(tensor.name)}: offset is "
                f"{tensor.offset:,}, expected {position:,}"
            )
        position += tensor.nbytes
    if position != record.nbytes:
        raise _fault(
            f"{place}: header and tensors take {position:,} bytes, expected "
            f"{record.nbytes:,}"
        )
    if len({tensor.name for tensor in record.tensors}) != len(record.tensors):
        raise _fault(f"{place}: two tensors have one name, expected different ones")


def _fault(message: str) -> IntegrityError:
    return IntegrityError(
        message,
        code="manifest",
        hint="the manifest itself is damaged or was edited: get it again",
    )
