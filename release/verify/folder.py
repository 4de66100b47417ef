"""A release folder, verified against its manifest."""

from pathlib import Path

from release.errors import CheckpointError, InputError
from release.formats.checkpoint import SafetensorsCheckpoint
from release.formats.header import TensorEntry
from release.formats.input import InputFile
from release.formats.open import open_safetensors
from release.formats.paths import safe_relative_paths
from release.formats.scan import scan
from release.manifest import (
    MANIFEST_NAME,
    CheckpointRecord,
    FileRecord,
    Manifest,
    read_manifest,
)
from release.numeric.digest import Sha256, Xxh3Bits128, xxh3_128
from release.progress import Advance, Progress
from release.verify.report import FileVerdict, Level, VerifyReport, damaged_tensors
from release.verify.tensors import tensor_digests


def verify_folder(
    folder: Path, *, level: Level, threads: int, progress: Progress
) -> VerifyReport:
    """Compare every file that the manifest names with what it says.

    Raises:
        InputError: The folder has no manifest.
        IntegrityError: The manifest is not valid.
    """
    manifest_path = folder / MANIFEST_NAME
    if not manifest_path.is_file():
        raise InputError(
            folder,
            f"has no {MANIFEST_NAME}",
            code="no-manifest",
            hint="name a release folder, or one safetensors file",
        )
    manifest = read_manifest(manifest_path)
    safe_relative_paths(_names(manifest))
    total = sum(record.nbytes for record in manifest.checkpoints)
    total += sum(record.nbytes for record in manifest.files)
    stages = 2 if level == "sha256" else 1
    with progress.stage("verify", total * stages) as advance:
        files = [
            *(
                _verify_checkpoint(folder, record, level, threads, advance)
                for record in manifest.checkpoints
            ),
            *(
                _verify_file(folder, record, level, advance)
                for record in manifest.files
            ),
        ]
    return VerifyReport(
        path=folder,
        level=level,
        release=manifest.release,
        rehearsal=manifest.rehearsal,
        files=tuple(files),
        extra=_extra(folder, manifest),
    )


def _names(manifest: Manifest) -> list[str]:
    return [
        *(record.name for record in manifest.checkpoints),
        *(record.name for record in manifest.files),
    ]


def _extra(folder: Path, manifest: Manifest) -> tuple[str, ...]:
    known = {MANIFEST_NAME, *_names(manifest)}
    return tuple(sorted({item.name for item in folder.iterdir()} - known))


def _verify_checkpoint(
    folder: Path,
    record: CheckpointRecord,
    level: Level,
    threads: int,
    advance: Advance,
) -> FileVerdict:
    path = folder / record.name
    if not path.is_file():
        return FileVerdict(record.name, "missing", "is not there", 0, record.variant)
    try:
        with open_safetensors(path) as checkpoint:
            verdict = _compare_checkpoint(checkpoint, record, threads, advance)
            if verdict.verdict == "intact" and level == "sha256":
                return _compare_identity(checkpoint.file, record, verdict, advance)
            return verdict
    except CheckpointError as error:
        return FileVerdict(
            record.name, "damaged", error.reason, path.stat().st_size, record.variant
        )


def _compare_checkpoint(
    checkpoint: SafetensorsCheckpoint,
    record: CheckpointRecord,
    threads: int,
    advance: Advance,
) -> FileVerdict:
    expected = {tensor.name: tensor for tensor in record.tensors}
    found = tensor_digests(checkpoint, threads=threads, advance=advance)
    checkpoint.check_unchanged()
    differing = {
        name
        for name, tensor in expected.items()
        if name in found
        and (
            found[name] != tensor.xxh3_128
            or _form(checkpoint.tensors[name]) != (tensor.dtype, tensor.shape)
        )
    }
    differing |= expected.keys() ^ found.keys()
    if differing:
        return damaged_tensors(
            record.name, checkpoint.nbytes, record.variant, sorted(differing)
        )
    header = checkpoint.file.read(0, checkpoint.data_begin)
    if xxh3_128(header) != record.header_xxh3_128:
        return FileVerdict(
            record.name,
            "header edited",
            "same weights; another program has changed the header",
            checkpoint.nbytes,
            record.variant,
        )
    detail = f"{len(expected):,} tensors and the header equal the manifest"
    return FileVerdict(record.name, "intact", detail, checkpoint.nbytes, record.variant)


def _form(entry: TensorEntry) -> tuple[str, tuple[int, ...]]:
    return entry.dtype.code, entry.shape


def _compare_identity(
    file: InputFile, record: CheckpointRecord, verdict: FileVerdict, advance: Advance
) -> FileVerdict:
    digest = Sha256()
    scan(file, 0, file.nbytes, digest, advance=advance)
    if digest.hexdigest() == record.sha256:
        return verdict
    detail = f"SHA-256 is {digest.hexdigest()}; expected {record.sha256}"
    return FileVerdict(record.name, "damaged", detail, file.nbytes, record.variant)


def _verify_file(
    folder: Path, record: FileRecord, level: Level, advance: Advance
) -> FileVerdict:
    path = folder / record.name
    if not path.is_file():
        return FileVerdict(record.name, "missing", "is not there", 0)
    quick, identity = Xxh3Bits128(), Sha256()
    try:
        with InputFile(path) as file:
            if file.nbytes != record.nbytes:
                detail = f"has {file.nbytes:,} bytes; expected {record.nbytes:,}"
                return FileVerdict(record.name, "damaged", detail, file.nbytes)
            scan(file, 0, file.nbytes, quick, advance=advance)
            if level == "sha256":
                scan(file, 0, file.nbytes, identity, advance=advance)
            file.check_unchanged()
    except CheckpointError as error:
        return FileVerdict(record.name, "damaged", error.reason, 0)
    is_same = quick.hexdigest() == record.xxh3_128
    if level == "sha256":
        is_same = is_same and identity.hexdigest() == record.sha256
    if not is_same:
        return FileVerdict(
            record.name, "damaged", "its bytes differ from the manifest", record.nbytes
        )
    return FileVerdict(record.name, "intact", "equals the manifest", record.nbytes)
