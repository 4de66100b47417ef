"""Digests of a checkpoint's tensors, on all threads."""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from release.formats.checkpoint import SafetensorsCheckpoint
from release.formats.header import TensorEntry
from release.formats.scan import scan
from release.numeric.digest import Xxh3Bits128
from release.progress import Advance

_RUN_NBYTES: Final = 4 * 1024 * 1024
"""Neighbouring small tensors that are handed to a thread together: most tensors of a
checkpoint are far smaller than handing them over costs."""


def tensor_digests(
    checkpoint: SafetensorsCheckpoint, *, threads: int, advance: Advance
) -> Mapping[str, str]:
    """Return tensor name -> xxh3_128 of its data, hashed by `threads` workers.

    Raises:
        InputError: The file changed or cannot be read.
    """

    def digests_of(run: list[TensorEntry]) -> list[tuple[str, str]]:
        return [(entry.name, digest_of(entry)) for entry in run]

    def digest_of(entry: TensorEntry) -> str:
        digest = Xxh3Bits128()
        begin = checkpoint.data_begin + entry.begin
        scan(checkpoint.file, begin, begin + entry.nbytes, digest, advance=advance)
        return digest.hexdigest()

    # Large runs first, so that no thread is left alone with one at the end.
    runs = sorted(runs_of(checkpoint.tensors.values()), key=run_nbytes, reverse=True)
    if threads == 1:
        return dict(pair for run in runs for pair in digests_of(run))
    with ThreadPoolExecutor(threads, "krelease-verify") as pool:
        return dict(pair for pairs in pool.map(digests_of, runs) for pair in pairs)


def runs_of(entries: Iterable[TensorEntry]) -> Iterator[list[TensorEntry]]:
    """Yield neighbours together, so that a run is worth a thread's while."""
    run: list[TensorEntry] = []
    for entry in entries:
        run.append(entry)
        if run_nbytes(run) >= _RUN_NBYTES:
            yield run
            run = []
    if run:
        yield run


def run_nbytes(run: list[TensorEntry]) -> int:
    """Return the bytes from the first tensor's begin to the last one's end."""
    return run[-1].end - run[0].begin
