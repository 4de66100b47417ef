"""Digests: xxh3 finds accidents, SHA-256 tells files apart.

xxh3 is fast and easily forged: anyone can make another file with the same value. It
locates damage and never identifies a file. SHA-256 is what the Hub and Civitai call a
file. No other module imports either library.

Source:
    Cyan4973/xxHash, `doc/xxhash_spec.md` (XXH3); FIPS 180-4 (SHA-256).
"""

import json
import re
from collections.abc import Iterable
from typing import Final, Self, TypeAlias

import xxhash
from cryptography.hazmat.primitives import hashes

from release.numeric.dtype import Dtype

Bytes: TypeAlias = bytes | bytearray | memoryview
"""What can be hashed: contiguous memory."""

CHUNK_NBYTES: Final = 2**20
"""Bytes of one chunk of a file when damage is located."""

AUTOV1_WINDOW: Final = (0x100000, 0x110000)
"""The bytes of a file, end excluded, that AutoV1 is taken of."""

_SHA256_HEX: Final = re.compile(r"[0-9a-f]{64}", re.IGNORECASE)


def xxh3_64(data: Bytes) -> str:
    """Return the XXH3-64 of `data` as 16 lower-case hexadecimal digits."""
    return xxhash.xxh3_64_hexdigest(data)


def xxh3_128(data: Bytes) -> str:
    """Return the XXH3-128 of `data` as 32 lower-case hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(data)


def sha256(data: Bytes) -> str:
    """Return the SHA-256 of `data` as 64 lower-case hexadecimal digits."""
    digest = Sha256()
    digest.update(data)
    return digest.hexdigest()


class Xxh3Bits128:
    """XXH3-128 of a stream of bytes; `xxh128sum` prints the same digits."""

    def __init__(self) -> None:
        self._state = xxhash.xxh3_128()

    def update(self, data: Bytes) -> None:
        """Append `data` to the stream."""
        self._state.update(data)

    def hexdigest(self) -> str:
        """Return 32 lower-case digits for the stream so far; it may go on."""
        return self._state.hexdigest()


class Xxh3Bits64Chunks:
    """XXH3-64 of each 1 MiB of a stream, to locate damage in it."""

    def __init__(self) -> None:
        self._done: list[str] = []
        self._state = xxhash.xxh3_64()
        self._room = CHUNK_NBYTES

    def update(self, data: Bytes) -> None:
        """Append `data` to the stream."""
        rest = memoryview(data).cast("B")
        while rest:
            part, rest = rest[: self._room], rest[self._room :]
            self._state.update(part)
            self._room -= len(part)
            if self._room == 0:
                self._done.append(self._state.hexdigest())
                self._state.reset()
                self._room = CHUNK_NBYTES

    def hexdigests(self) -> tuple[str, ...]:
        """Return one digest per chunk begun, the last chunk may be shorter."""
        is_begun = self._room < CHUNK_NBYTES
        return (*self._done, *([self._state.hexdigest()] if is_begun else []))


class Sha256:
    """SHA-256 of a stream of bytes.

    Args:
        state: A state to go on from, which then belongs to this object.
    """

    def __init__(self, state: hashes.Hash | None = None) -> None:
        self._state = state or hashes.Hash(hashes.SHA256())

    def update(self, data: Bytes) -> None:
        """Append `data` to the stream."""
        self._state.update(data)

    def copy(self) -> Self:
        """Return an independent digest of the same stream so far."""
        return type(self)(self._state.copy())

    def hexdigest(self) -> str:
        """Return 64 lower-case digits for the stream so far; it may go on."""
        return self._state.copy().finalize().hex()


class GitBlob:
    """SHA-1 that git names a file's content by: for comparing, never for integrity.

    Args:
        nbytes: Size of the content, which git hashes first.

    Source:
        git, "gitformat-pack" and `git hash-object`: SHA-1 over "blob <size>", a NUL
        and the bytes.
    """

    def __init__(self, nbytes: int) -> None:
        self._state = hashes.Hash(hashes.SHA1())  # noqa: S303  # git's choice
        self._state.update(b"blob %d\0" % nbytes)

    def update(self, data: Bytes) -> None:
        """Append `data` to the content."""
        self._state.update(data)

    def hexdigest(self) -> str:
        """Return 40 lower-case digits for the content so far; it may go on."""
        return self._state.copy().finalize().hex()


def git_lfs_pointer(sha256_hex: str, nbytes: int) -> str:
    """Return the git blob id of the pointer that stands for a file in LFS.

    It is what the Hub's file list calls `oid`, beside the SHA-256 in `lfs`.

    Args:
        sha256_hex: Of the whole file, 64 lower-case digits.
        nbytes: Size of the file.

    Source:
        git-lfs/git-lfs, `docs/spec.md`, "The Pointer".
    """
    pointer = (
        "version https://git-lfs.github.com/spec/v1\n"
        f"oid sha256:{sha256_hex}\nsize {nbytes}\n"
    ).encode("ascii")
    blob = GitBlob(len(pointer))
    blob.update(pointer)
    return blob.hexdigest()


def autov1(window_sha256: str) -> str:
    """Return Civitai's AutoV1: the first 8 digits of the SHA-256 of `AUTOV1_WINDOW`.

    It covers 64 KiB of a file only: two models can share it.

    Args:
        window_sha256: SHA-256 of those bytes, 64 digits, any case.

    Raises:
        ValueError: `window_sha256` is not a SHA-256.

    Source:
        AUTOMATIC1111/stable-diffusion-webui, `model_hash` in `sd_models.py`.
    """
    return _first_digits(window_sha256, 8)


def autov2(sha256_hex: str) -> str:
    """Return Civitai's AutoV2: the first 10 digits of the whole file's SHA-256.

    40 bits tell apart what people meant to be different, nothing more.

    Args:
        sha256_hex: 64 hexadecimal digits, any case.

    Raises:
        ValueError: `sha256_hex` is not a SHA-256.

    Source:
        civitai/civitai-developer-docs, file hashes; A1111 shows the same digits.
    """
    return _first_digits(sha256_hex, 10)


def autov3(data_sha256: str) -> str:
    """Return Civitai's AutoV3: the first 12 digits of the data section's SHA-256.

    Args:
        data_sha256: SHA-256 of everything behind the header, 64 digits, any case.

    Raises:
        ValueError: `data_sha256` is not a SHA-256.

    Source:
        civitai/civitai-developer-docs, file hashes.
    """
    return _first_digits(data_sha256, 12)


def _first_digits(sha256_hex: str, count: int) -> str:
    if not _SHA256_HEX.fullmatch(sha256_hex):
        raise ValueError(f"got {sha256_hex!r:.80}, expected 64 hexadecimal digits")
    return sha256_hex[:count].upper()


def tensor_set_digest(
    tensors: Iterable[tuple[str, Dtype, tuple[int, ...], str]],
) -> str:
    r"""Return one digest of a set of tensors, whatever their order in the file.

    The canonical form, `krelease-tensor-set-xxh3_128-v1`: the tensors sorted by name
    in code point order; for each a line `["name","DTYPE",[d0,d1],"digest"]` of JSON
    without blanks, characters beyond ASCII as `\uXXXX`, ended by one LF. The digest is
    the XXH3-128 of all lines. It changes with any name, dtype, shape or value and
    survives other tensor orders and edited metadata.

    Args:
        tensors: Name, dtype, shape and XXH3-128 of the data for each tensor.

    Raises:
        ValueError: A name occurs twice.
    """
    digest = Xxh3Bits128()
    previous: str | None = None
    for name, dtype, shape, data_digest in sorted(tensors, key=lambda item: item[0]):
        if name == previous:
            raise ValueError(f"tensor {name!r:.200} occurs twice")
        previous = name
        fields = [name, dtype.code, list(shape), data_digest.lower()]
        digest.update(json.dumps(fields, separators=(",", ":")).encode() + b"\n")
    return digest.hexdigest()
