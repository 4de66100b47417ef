"""Digests of a checkpoint's tensors, on all threads."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from release.formats.checkpoint import SafetensorsCheckpoint
from release.formats.header import TensorEntry
from release.formats.scan import scan
from release.numeric.digest import Xxh3Bits128
from release.progress import Advance


def tensor_digests(
    checkpoint: SafetensorsCheckpoint, *, threads: int, advance: Advance
) -> Mapping[str, str]:
    """Return tensor name -> xxh3_128 of its data, hashed by `threads` workers.

    Raises:
        InputError: The file changed or cannot be read.
    """

    def digest_of(entry: TensorEntry) -> tuple[str, str]:
        digest = Xxh3Bits128()
        begin = checkpoint.data_begin + entry.begin
        end = begin + entry.nbytes
        scan(checkpoint.file, begin, end, digest, advance=advance)
        return entry.name, digest.hexdigest()

    # Large tensors first, so that no thread is left alone with one at the end.
    entries = sorted(checkpoint.tensors.values(), key=lambda entry: -entry.nbytes)
    with ThreadPoolExecutor(threads, "krelease-verify") as pool:
        return dict(pool.map(digest_of, entries))
