"""Hashes that a header states: of the data at hand, or of nothing at all."""

import re
from collections.abc import Mapping
from typing import Final

from release.claims.claim import SHA256_OF_NOTHING
from release.errors import first_names, visible
from release.metadata import DATA_SHA256_KEY
from release.verify.finding import Finding

_DATA_KEYS: Final = (DATA_SHA256_KEY, "sshs_model_hash")
"""Keys whose value is the SHA-256 of the data section."""

_OF_NOTHING: Final = (
    SHA256_OF_NOTHING,
    "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",  # BLAKE3
    "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",  # git, which hashes a size first
)
_SHORTEST: Final = 8
"""Digits of the shortest form in which programs show a hash."""
_HEX: Final = re.compile(r"(?<![0-9a-f])[0-9a-f]{8,64}(?![0-9a-f])")
_STATED: Final = re.compile(r"(?:0x)?([0-9a-f]{8,64})")
_CRC32: Final = re.compile(r"(?:0x)?0{8}")


def empty_hash_findings(
    metadata: Mapping[str, str], *, data_nbytes: int
) -> tuple[Finding, ...]:
    """Return which metadata states the hash of no bytes, in full or cut short.

    Programs that hash what they failed to read write it; every such file then is found
    under the same name.

    Args:
        metadata: Of the header.
        data_nbytes: Of the data section: where it is empty, the hash of it is so.

    Source:
        ostris/ai-toolkit issues 130 and 202.
    """
    keys = [
        key
        for key, value in metadata.items()
        if _states_nothing(key, value) and not (key in _DATA_KEYS and data_nbytes == 0)
    ]
    if not keys:
        return ()
    states = "states" if len(keys) == 1 else "state"
    return (
        Finding(
            "empty-hash",
            "warning",
            f"metadata {first_names(keys)} {states} the hash of nothing: whoever looks "
            f"a file up by it finds another one",
        ),
    )


def _states_nothing(key: str, value: str) -> bool:
    if "crc32" in key.lower() and _CRC32.fullmatch(value.strip().lower()):
        return True
    text = value.lower()
    if not any(known[:_SHORTEST] in text for known in _OF_NOTHING):
        return False
    return any(_is_of_nothing(found) for found in _HEX.findall(text))


def _is_of_nothing(digits: str) -> bool:
    return any(known.startswith(digits) for known in _OF_NOTHING)


def hash_findings(metadata: Mapping[str, str], data_sha256: str) -> tuple[Finding, ...]:
    """Return which hashes of the data section the data refutes.

    A stated hash may be upper case, begin with 0x and be cut short to 8 digits or more.
    Hashes of nothing are left to `empty_hash_findings`.

    Args:
        metadata: Of the header.
        data_sha256: SHA-256 of everything behind the header, 64 digits, lower case.
    """
    findings: list[Finding] = []
    for key in _DATA_KEYS:
        stated = metadata.get(key, "").strip()
        match = _STATED.fullmatch(stated.lower())
        if not stated or (match and data_sha256.startswith(match[1])):
            continue
        if match is None:
            text = f"{key} is {visible(stated, 80)}, expected a SHA-256"
            findings.append(Finding("data-hash", "warning", text))
        elif not _is_of_nothing(match[1]):
            text = (
                f"{key} states {match[1]}, the data's SHA-256 is {data_sha256}: the "
                f"data was changed, or saved in another order, after that was written"
            )
            findings.append(Finding("data-hash", "error", text))
    return tuple(findings)
