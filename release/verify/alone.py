"""One file, verified by the digests that its own header carries."""

import re

from release.errors import visible
from release.formats.checkpoint import SafetensorsCheckpoint
from release.formats.scan import scan
from release.formats.tensor import tensor_set
from release.metadata import (
    DATA_SHA256_KEY,
    TENSOR_DIGESTS_KEY,
    TENSOR_SET_KEY,
    VARIANT_KEY,
)
from release.numeric.digest import Sha256
from release.progress import Advance
from release.verify.report import FileVerdict, Level, damaged_tensors
from release.verify.tensors import tensor_digests


def verify_alone(
    checkpoint: SafetensorsCheckpoint, *, level: Level, threads: int, advance: Advance
) -> FileVerdict:
    """Compare every tensor with the digest in the header; at "sha256" the data too."""
    name, nbytes = checkpoint.path.name, checkpoint.nbytes
    expected = _carried_digests(checkpoint)
    if expected is None:
        return FileVerdict(
            name,
            "unverifiable",
            "the header carries no tensor digests: not written by krelease, or they "
            "were removed",
            nbytes,
        )
    variant = shown(checkpoint, VARIANT_KEY)
    found = tensor_digests(checkpoint, threads=threads, advance=advance)
    checkpoint.check_unchanged()
    damaged = tuple(sorted(n for n in expected if found[n] != expected[n]))
    if damaged:
        return damaged_tensors(name, nbytes, variant, damaged)
    found_set = tensor_set(checkpoint.tensors.values(), found)
    if found_set != checkpoint.metadata.get(TENSOR_SET_KEY):
        return FileVerdict(
            name,
            "damaged",
            f"a tensor's name, dtype or shape differs from {TENSOR_SET_KEY}",
            nbytes,
            variant,
        )
    if level == "sha256" and not _data_is_intact(checkpoint, advance):
        return FileVerdict(
            name,
            "damaged",
            f"the data section differs from {DATA_SHA256_KEY}",
            nbytes,
            variant,
        )
    detail = f"{len(expected):,} tensors equal the digests in the header"
    return FileVerdict(name, "intact", detail, nbytes, variant)


def _carried_digests(checkpoint: SafetensorsCheckpoint) -> dict[str, str] | None:
    """Return the digests of the header by tensor name; None where they do not fit."""
    joined = checkpoint.metadata.get(TENSOR_DIGESTS_KEY, "")
    names = sorted(checkpoint.tensors)
    if not names or re.fullmatch(r"[0-9a-f]+", joined) is None:
        return None
    if len(joined) != 32 * len(names):
        return None
    return {name: joined[32 * at : 32 * at + 32] for at, name in enumerate(names)}


def _data_is_intact(checkpoint: SafetensorsCheckpoint, advance: Advance) -> bool:
    digest = Sha256()
    begin, end = checkpoint.data_begin, checkpoint.nbytes
    scan(checkpoint.file, begin, end, digest, advance=advance)
    return checkpoint.metadata.get(DATA_SHA256_KEY) == f"0x{digest.hexdigest()}"


def shown(checkpoint: SafetensorsCheckpoint, key: str) -> str | None:
    """Return a value of the metadata, safe for a terminal."""
    text = checkpoint.metadata.get(key)
    return None if text is None else visible(text, 64)
