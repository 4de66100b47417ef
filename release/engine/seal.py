"""From streamed bytes to a finished file: header, durability, read-back.

The header comes last: it carries digests of the data behind it, and until its length is
written the file begins with zeros, which every reader refuses.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from release.engine.frontier import Frontier
from release.engine.plan import OutputPlan
from release.errors import WriteError, visible
from release.formats.header import encode_header
from release.formats.output import OutputFile
from release.formats.scan import Digest, blocks, scan
from release.formats.tensor import tensor_set
from release.formats.tensor_stream import TensorDigests
from release.metadata import DATA_SHA256_KEY, TENSOR_DIGESTS_KEY, TENSOR_SET_KEY
from release.numeric.digest import (
    Sha256,
    Xxh3Bits64Chunks,
    Xxh3Bits128,
    xxh3_128,
)


@dataclass(frozen=True, slots=True)
class Seal:
    """Digests of a finished checkpoint, taken while it was read back.

    `chunks` is xxh3_64 of every `CHUNK_NBYTES` of the file, 16 hex digits each, joined.
    `sha256` is None where it was not asked for.
    """

    xxh3_128: str
    sha256: str | None
    data_sha256: str
    header_xxh3_128: str
    chunks: str


class DataHasher:
    """SHA-256 of a data section, following the pass from the front.

    Args:
        file: The output being written.
        frontier: How far it is complete.
    """

    def __init__(self, file: OutputFile, frontier: Frontier) -> None:
        self._file = file
        self._frontier = frontier
        self._hash = Sha256()

    def follow(self) -> None:
        """Hash until the data section is complete; the body of a thread."""
        position = self._frontier.begin
        while position < self._frontier.end:
            reached = self._frontier.wait_beyond(position)
            scan(self._file, position, reached, self._hash)
            position = reached

    def hexdigest(self) -> str:
        """Return the digest, 64 lower hex digits."""
        return self._hash.hexdigest()


class Sealer:
    """Finishes one output whose data section is complete.

    Args:
        plan: The plan of the output.
        file: The output.
        data_sha256: Of the data section, hex.
        tensor_digests: xxh3_128 of each tensor as it was written, hex, by name.
    """

    def __init__(
        self,
        plan: OutputPlan,
        file: OutputFile,
        data_sha256: str,
        tensor_digests: Mapping[str, str],
    ) -> None:
        self._plan = plan
        self._file = file
        self._data_sha256 = data_sha256
        self._tensor_digests = tensor_digests
        self._header = b""

    def write_header(self, facts: Mapping[str, str]) -> None:
        """Fill the placeholders and write the header, its length last of all.

        Args:
            facts: Metadata that the pass found out beside the digests, each as long as
                its placeholder.
        """
        digests = self._tensor_digests
        metadata = {
            **self._plan.metadata,
            **facts,
            DATA_SHA256_KEY: f"0x{self._data_sha256}",
            TENSOR_DIGESTS_KEY: "".join(digests[name] for name in sorted(digests)),
            TENSOR_SET_KEY: tensor_set(self._plan.entries, digests),
        }
        self._header = encode_header(metadata, self._plan.entries)
        if len(self._header) != self._plan.header_nbytes:
            raise AssertionError("a placeholder has not the length of its value")
        self._file.write_at(8, self._header[8:])
        self._file.write_at(0, self._header[:8])

    def seal(
        self,
        on_read: Callable[[int], None],
        stopped: threading.Event,
        *,
        identifies: bool,
    ) -> Seal:
        """Bring the file to the disk, read it back, and compare.

        Args:
            on_read: Called with bytes read back, from any thread.
            stopped: Set by whoever wants the work to end early; set here on failure.
            identifies: Whether to take the SHA-256 of the whole file, which lasts as
                long as all the rest of sealing several times over.

        Raises:
            WriteError: Header or tensor does not read back as it was written.
        """
        self._file.sync()
        whole, identity = Xxh3Bits128(), Sha256()
        # SHA-256 takes a core to itself; all else then fits on another.
        aside: Digest = identity if identifies else whole
        with ThreadPoolExecutor(1, "krelease-identity") as pool:
            future = pool.submit(self._add_all, aside, stopped)
            try:
                chunks = self._read_back(
                    on_read, stopped, whole if identifies else None
                )
            except BaseException:
                stopped.set()
                raise
            future.result()
        return Seal(
            xxh3_128=whole.hexdigest(),
            sha256=identity.hexdigest() if identifies else None,
            data_sha256=self._data_sha256,
            header_xxh3_128=xxh3_128(self._header),
            chunks=chunks,
        )

    def _check_header(self) -> None:
        copy = bytearray(len(self._header))
        self._file.read_into(0, memoryview(copy))
        if copy != self._header:
            raise _read_back_failure(self._file, "the header")

    def _check_tensor(self, name: str, digest: str) -> None:
        if digest != self._tensor_digests[name]:
            raise _read_back_failure(self._file, f"tensor {visible(name)}")

    def _read_back(
        self,
        on_read: Callable[[int], None],
        stopped: threading.Event,
        whole: Digest | None,
    ) -> str:
        """Check the header and every tensor; return the digests of the chunks."""
        self._check_header()
        chunks = Xxh3Bits64Chunks()
        begin = self._plan.header_nbytes
        check = TensorDigests(self._plan.entries, begin, self._check_tensor)
        for block in blocks(self._file, 0, self._plan.nbytes):
            if stopped.is_set():
                break
            chunks.update(block)
            check.update(block)
            if whole is not None:
                whole.update(block)
            on_read(len(block))
        return "".join(chunks.hexdigests())

    def _add_all(self, digest: Digest, stopped: threading.Event) -> None:
        for block in blocks(self._file, 0, self._plan.nbytes):
            if stopped.is_set():
                break
            digest.update(block)


def _read_back_failure(file: OutputFile, what: str) -> WriteError:
    return WriteError(
        f"{visible(file.path, 1024)}: {what} does not read back as it was written",
        code="read-back",
        hint="the disk or its memory is failing; try another disk",
    )
