"""Reading files once, on all cores, for every digest that somebody may ask about."""

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from release.errors import CheckpointError
from release.formats.header import Header, read_header, read_stated_header
from release.formats.input import InputFile, opened
from release.formats.open import is_pickled, pickled_fault
from release.formats.scan import Digest, scan
from release.formats.tensor import TensorEntry
from release.numeric.digest import GitBlob, Sha256, Xxh3Bits128
from release.progress import Advance
from release.verify.tensors import run_nbytes, runs_of

if TYPE_CHECKING:
    from release.verify.values import TensorValues

_OTHER_LENGTH = frozenset({"truncated", "trailing-bytes"})


@dataclass(frozen=True, slots=True)
class Wants:
    """Which digests are needed.

    Attributes:
        tensors: xxh3_128 of every tensor.
        whole: xxh3_128 of the whole file.
        sha256: SHA-256 of the whole file.
        git: What git names the whole file's content by.
        data: SHA-256 of the data section.
        values: What the values of every tensor are.
    """

    tensors: bool = False
    whole: bool = False
    sha256: bool = False
    git: bool = False
    data: bool = False
    values: bool = False

    @property
    def is_one_stream(self) -> bool:
        """Whether something needs the bytes in their order."""
        return self.whole or self.sha256 or self.git or self.data


class Job(NamedTuple):
    """A piece of reading that a thread does alone."""

    nbytes: int
    run: Callable[[Advance], None]


class Examination:
    """One file, open, with what is known of it so far; a context manager.

    Attributes:
        file: The file.
        header: Its header; None where it has none. Of a file that was cut or appended
            to, what its header says it should be.
        fault: Why it is no proper safetensors file; None if it is one, or if nobody
            looked.
        failure: Why its bytes could not be read; nothing else counts then.
        tensors: Tensor name -> xxh3_128 of its data, for those that lie in the file.
        header_xxh3_128: Of the bytes before the data.
        xxh3_128: Of the whole file.
        sha256: Of the whole file.
        git_blob_id: Of the whole file.
        data_sha256: Of the data section.
        values: Tensor name -> what its values are, for those that were looked at.

    Args:
        source: The file; one that is already open belongs to this object from now on.
        is_checkpoint: Whether a header is looked for.

    Raises:
        InputError: It is no regular file, or cannot be read.
    """

    def __init__(self, source: Path | InputFile, *, is_checkpoint: bool) -> None:
        self.file = opened(source)
        self.header: Header | None = None
        self.fault: CheckpointError | None = None
        self.failure: CheckpointError | None = None
        self.tensors: dict[str, str] = {}
        self.header_xxh3_128: str | None = None
        self.xxh3_128: str | None = None
        self.sha256: str | None = None
        self.git_blob_id: str | None = None
        self.data_sha256: str | None = None
        self.values: dict[str, TensorValues] = {}
        try:
            if is_checkpoint:
                self._read_header()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self.file.close()

    @property
    def path(self) -> Path:
        """The file."""
        return self.file.path

    @property
    def nbytes(self) -> int:
        """Bytes of the file."""
        return self.file.nbytes

    def _read_header(self) -> None:
        if is_pickled(self.file):
            self.fault = pickled_fault(self.path)
            return
        try:
            self.header = read_header(self.file)
        except CheckpointError as error:
            self.fault = error
        try:
            if self.fault is not None and self.fault.code in _OTHER_LENGTH:
                self.header = read_stated_header(self.file)
        except CheckpointError as error:
            self.fault = error
        if self.fault is not None and self.fault.code == "input-changed":
            raise self.fault

    def present(self) -> list[TensorEntry]:
        """Return the tensors that lie in the file, in the order of their data."""
        if self.header is None:
            return []
        room = self.nbytes - self.header.nbytes
        return [entry for entry in self.header.tensors if entry.end <= room]

    def jobs(self, wants: Wants) -> list[Job]:
        """Return the reading that fills in what is wanted, every byte once."""
        if self.header is None:
            wants = replace(wants, tensors=False, data=False, values=False)
        if wants.is_one_stream:
            return [Job(self.nbytes, lambda advance: self._stream(wants, advance))]
        if not wants.tensors and not wants.values:
            return []
        return [
            Job(run_nbytes(run), partial(self._read_run, run, wants))
            for run in runs_of(self.present())
        ]

    def read_tensors(self) -> None:
        """Fill in the digests of tensors and header, if that was not done yet."""
        if not self.tensors and self.header is not None:
            for job in self.jobs(Wants(tensors=True)):
                job.run(lambda _: None)

    def look_at_values(self, names: Collection[str]) -> None:
        """Look at the values of some tensors, if that was not done yet."""
        for entry in self.present():
            if entry.name in names and entry.name not in self.values:
                self._read_run([entry], Wants(values=True), lambda _: None)

    def digest(self, begin: int, end: int) -> str:
        """Return the xxh3_128 of a range of the file, which must lie in it."""
        digest = Xxh3Bits128()
        scan(self.file, begin, end, digest)
        return digest.hexdigest()

    def _read_run(self, run: list[TensorEntry], wants: Wants, advance: Advance) -> None:
        for entry in run:
            begin = self._data_begin + entry.begin
            end = begin + entry.nbytes
            with self._tensor(entry, wants) as digests:
                scan(self.file, begin, end, *digests, advance=advance)

    @contextmanager
    def _tensor(self, entry: TensorEntry, wants: Wants) -> Iterator[list[Digest]]:
        """Give the digests that a tensor's bytes are added to; keep their results."""
        digest = Xxh3Bits128()
        digests: list[Digest] = [digest] if wants.tensors else []
        if wants.values:
            from release.verify.values import TensorValues  # NumPy

            values = TensorValues(entry.dtype)
            digests.append(values)
            yield digests
            self.values[entry.name] = values
        else:
            yield digests
        if wants.tensors:
            self.tensors[entry.name] = digest.hexdigest()

    def _stream(self, wants: Wants, advance: Advance) -> None:
        whole, identity, data = Xxh3Bits128(), Sha256(), Sha256()
        git = GitBlob(self.nbytes)
        asked = ((wants.whole, whole), (wants.sha256, identity), (wants.git, git))
        common: list[Digest] = [digest for is_wanted, digest in asked if is_wanted]
        for begin, end, entry in self._segments(wants):
            with ExitStack() as stack:
                digests = [*common]
                if entry is not None:
                    digests += stack.enter_context(self._tensor(entry, wants))
                if wants.data and begin >= self._data_begin:
                    digests.append(data)
                scan(self.file, begin, end, *digests, advance=advance)
        self.xxh3_128 = whole.hexdigest() if wants.whole else None
        self.sha256 = identity.hexdigest() if wants.sha256 else None
        self.git_blob_id = git.hexdigest() if wants.git else None
        self.data_sha256 = data.hexdigest() if wants.data else None

    @property
    def _data_begin(self) -> int:
        return 0 if self.header is None else self.header.nbytes

    def _segments(self, wants: Wants) -> Iterator[tuple[int, int, TensorEntry | None]]:
        """Yield ranges that cover the file in order, with the tensor that each is."""
        position = 0
        if self.header is not None:
            position = self.header.nbytes
            yield 0, position, None
            by_tensor = wants.tensors or wants.values
            for entry in self.present() if by_tensor else ():
                yield position, self.header.nbytes + entry.end, entry
                position = self.header.nbytes + entry.end
        if position < self.nbytes:
            yield position, self.nbytes, None

    def finish(self) -> None:
        """Take the header's digest, and see that the file is still the one opened.

        Raises:
            InputError: It changed while it was read.
        """
        if self.header is not None and self.header_xxh3_128 is None:
            self.header_xxh3_128 = self.digest(0, self.header.nbytes)
        self.file.check_unchanged()


def read_all(
    work: Sequence[tuple[Examination, Wants]], *, threads: int, advance: Advance
) -> None:
    """Read all files, each once, the largest pieces first.

    What goes wrong with one file is kept as its `failure`, and the others go on.
    """

    def guarded(examined: Examination, job: Job) -> None:
        if examined.failure is not None:
            return
        try:
            job.run(advance)
        except CheckpointError as error:
            examined.failure = error

    jobs = [(each, job) for each, wants in work for job in each.jobs(wants)]
    jobs.sort(key=lambda pair: pair[1].nbytes, reverse=True)
    if threads == 1 or len(jobs) == 1:
        for each, job in jobs:
            guarded(each, job)
    else:
        _in_pool(jobs, guarded, threads)
    for each, _ in work:
        if each.failure is None:
            try:
                each.finish()
            except CheckpointError as error:
                each.failure = error


def _in_pool(
    jobs: Sequence[tuple[Examination, Job]],
    run: Callable[[Examination, Job], None],
    threads: int,
) -> None:
    pool = ThreadPoolExecutor(min(threads, max(len(jobs), 1)), "krelease-verify")
    try:
        for future in [pool.submit(run, *job) for job in jobs]:
            future.result()
    finally:
        pool.shutdown(cancel_futures=True)
