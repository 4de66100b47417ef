"""Every name that programs and sites call a file by, in one reading of it.

Some names are of the whole file, some of a safetensors file's data section alone, which
edits of the header leave as it is. CRC32 is not among them: its bytes are shown in
either order. Nor is BLAKE3, which no library of ours computes.

Source:
    civitai/model-scanner, `HashTask.cs`; AUTOMATIC1111/stable-diffusion-webui,
    `sd_models.py` and `hashes.py`; kohya-ss/sd-scripts, `library/train_util.py`;
    Stability-AI/ModelSpec.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from release.errors import CheckpointError, InputError
from release.formats.header import Header, read_header
from release.formats.input import InputFile
from release.formats.scan import Digest
from release.formats.tensor import tensor_set
from release.formats.tensor_stream import TensorDigests
from release.numeric.digest import (
    AUTOV1_WINDOW,
    Bytes,
    GitBlob,
    Sha256,
    Xxh3Bits128,
    autov1,
    autov2,
    autov3,
    git_lfs_pointer,
)
from release.progress import Advance, Progress

_BLOCK_NBYTES: Final = 4 * 2**20
_AUTOV1_CIVITAI_NBYTES: Final = 2 * 2**20
"""Civitai gives smaller files no AutoV1."""
_GIT_NBYTES_MAX: Final = 10 * 2**20
"""Whatever is larger is in LFS on the Hub and has no blob of its own."""

_SHORT: Final = (
    "it is taken from byte 1,048,576 on, and the file ends before; A1111 shows "
    "e3b0c442 for every such file"
)
_NO_DATA: Final = (
    "the data section is empty: the hash of nothing is the same for every such file"
)
_IN_LFS: Final = "larger than 10 MiB: on the Hub it is in LFS"


@dataclass(frozen=True, slots=True)
class FileHashes:
    """What one file is called.

    A name that the file cannot have is None, and `absent` says why.

    Attributes:
        path: What was named.
        nbytes: Size in bytes.
        sha256: SHA-256 of the file: the Hub's LFS oid and Civitai's SHA256.
        xxh3_128: XXH3-128 of the file, as `xxh128sum` prints it.
        autov1: 8 digits of the SHA-256 of 64 KiB.
        git_blob: Git's id of the content, for files that are not in LFS.
        data_sha256: SHA-256 of the data section: `sshs_model_hash`, the addnet hash,
            and AutoV3 in full.
        tensor_set_xxh3_128: krelease's digest of the tensors in any order.
        absent: Attribute -> why it is None.
    """

    path: Path
    nbytes: int
    sha256: str
    xxh3_128: str
    autov1: str | None
    git_blob: str | None
    data_sha256: str | None
    tensor_set_xxh3_128: str | None
    absent: Mapping[str, str]

    @property
    def is_autov1_on_civitai(self) -> bool:
        """Whether the file is large enough for Civitai to give it an AutoV1."""
        return self.nbytes >= _AUTOV1_CIVITAI_NBYTES

    @property
    def autov2(self) -> str:
        """The first 10 digits of the SHA-256: "Model hash" in images."""
        return autov2(self.sha256)

    @property
    def autov3(self) -> str | None:
        """The first 12 digits of the data section's SHA-256."""
        return None if self.data_sha256 is None else autov3(self.data_sha256)

    @property
    def modelspec(self) -> str | None:
        """The value of `modelspec.hash_sha256` in a header."""
        return None if self.data_sha256 is None else f"0x{self.data_sha256}"

    @property
    def git_lfs_pointer(self) -> str:
        """Git's id of the pointer that stands for the file in LFS."""
        return git_lfs_pointer(self.sha256, self.nbytes)


def hash_files(
    paths: Sequence[Path], *, threads: int, progress: Progress
) -> tuple[FileHashes, ...]:
    """Return what each file is called; each is read once.

    Args:
        paths: Any files; those that are no safetensors files lack the names of data.
        threads: With more than one, SHA-256 of the file has a core to itself.
        progress: Where the stage is shown.

    Raises:
        InputError: A file cannot be read, or changed meanwhile. All are looked at
            before the first is read.
    """
    total = 0
    for path in paths:
        with InputFile(path) as file:
            total += file.nbytes
    with progress.stage("hash", total) as advance:
        return tuple(_hash_file(path, threads, advance) for path in paths)


def _hash_file(path: Path, threads: int, advance: Advance) -> FileHashes:
    with InputFile(path) as file:
        identity, streams = Sha256(), _Streams(file)
        with ThreadPoolExecutor(1, "krelease-hash") as pool:
            aside = _Aside(identity, pool if threads > 1 else None)
            for block in _blocks(file):
                aside.update(block)
                streams.update(block)
                advance(len(block))
            aside.finish()
        file.check_unchanged()
    return streams.hashes(identity.hexdigest())


def _blocks(file: InputFile) -> Iterator[memoryview]:
    """Yield the file block by block; a block stays as it is until the next but one."""
    length = min(_BLOCK_NBYTES, file.nbytes)
    buffers = [memoryview(bytearray(length)) for _ in range(2)]
    for number, position in enumerate(range(0, file.nbytes, _BLOCK_NBYTES)):
        block = buffers[number % 2][: min(length, file.nbytes - position)]
        file.read_into(position, block)
        yield block


class _Aside:
    """A digest that is updated on another thread, one block behind at most.

    Args:
        digest: What is updated, and read after `finish`.
        pool: With one thread; None updates at once.
    """

    def __init__(self, digest: Digest, pool: ThreadPoolExecutor | None) -> None:
        self._digest = digest
        self._pool = pool
        self._pending: Future[None] | None = None

    def update(self, block: memoryview) -> None:
        """Append a block; the one before it is no longer needed afterwards."""
        self.finish()
        if self._pool is None:
            self._digest.update(block)
        else:
            self._pending = self._pool.submit(self._digest.update, block)

    def finish(self) -> None:
        """Wait until every block is appended."""
        if self._pending is not None:
            self._pending.result()


class _Window:
    """The bytes of a stream from `begin` to `end` (excluded), added to a digest."""

    def __init__(self, digest: Digest, begin: int, end: int) -> None:
        self._digest = digest
        self._begin = begin
        self._end = end
        self._position = 0

    def update(self, data: Bytes) -> None:
        """Take the next block of the stream into account."""
        begin = max(self._begin - self._position, 0)
        end = max(self._end - self._position, 0)
        self._digest.update(memoryview(data)[begin:end])
        self._position += len(data)


class _Streams:
    """All digests of one file but the SHA-256 of the whole.

    Args:
        file: The file, open.
    """

    def __init__(self, file: InputFile) -> None:
        self._file = file
        self._whole, self._git = Xxh3Bits128(), GitBlob(file.nbytes)
        self._autov1, self._data = Sha256(), Sha256()
        self._tensors: dict[str, str] = {}
        self._absent: dict[str, str] = {}
        self._header = self._read_header()
        self._digests: list[Digest] = [
            self._whole,
            _Window(self._autov1, *AUTOV1_WINDOW),
            *self._digests_of_data(),
        ]
        if file.nbytes <= _GIT_NBYTES_MAX:
            self._digests.append(self._git)

    def update(self, block: memoryview) -> None:
        """Append a block to every digest."""
        for digest in self._digests:
            digest.update(block)

    def hashes(self, sha256: str) -> FileHashes:
        """Return the names of the file that has gone by."""
        return FileHashes(
            path=self._file.path,
            nbytes=self._file.nbytes,
            sha256=sha256,
            xxh3_128=self._whole.hexdigest(),
            autov1=self._autov1_name(),
            git_blob=self._git_name(),
            data_sha256=self._data_name(),
            tensor_set_xxh3_128=self._tensor_set(),
            absent=self._absent,
        )

    def _read_header(self) -> Header | None:
        try:
            return read_header(self._file)
        except InputError:
            raise
        except CheckpointError as error:
            reason = f"not a safetensors file: {error.reason}"
            self._absent |= {"data_sha256": reason, "tensor_set_xxh3_128": reason}
            return None

    def _digests_of_data(self) -> list[Digest]:
        header = self._header
        if header is None:
            return []
        return [
            _Window(self._data, header.nbytes, self._file.nbytes),
            TensorDigests(header.tensors, header.nbytes, self._tensors.__setitem__),
        ]

    def _autov1_name(self) -> str | None:
        if self._file.nbytes > AUTOV1_WINDOW[0]:
            return autov1(self._autov1.hexdigest())
        self._absent["autov1"] = _SHORT
        return None

    def _git_name(self) -> str | None:
        if self._file.nbytes <= _GIT_NBYTES_MAX:
            return self._git.hexdigest()
        self._absent["git_blob"] = _IN_LFS
        return None

    def _data_name(self) -> str | None:
        if self._header is None:
            return None
        if self._header.nbytes < self._file.nbytes:
            return self._data.hexdigest()
        self._absent["data_sha256"] = _NO_DATA
        return None

    def _tensor_set(self) -> str | None:
        if self._header is None:
            return None
        return tensor_set(self._header.tensors, self._tensors)
