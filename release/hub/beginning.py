"""The beginnings of files on a Hub: small files whole, of checkpoints the header.

A download is broken off as soon as enough has come, so a file of seven gigabytes costs
as much as its header.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from huggingface_hub import hf_hub_url

from release.errors import CheckpointError, visible
from release.formats.header import Header, parse_header
from release.formats.limits import HEADER_NBYTES_WARN
from release.hub.client import HubConnection
from release.hub.remote import RemoteFile

_LENGTH_NBYTES: Final = 8


def read_small_file(
    connection: HubConnection,
    repo_id: str,
    commit: str,
    file: RemoteFile,
    *,
    nbytes_max: int,
) -> bytes:
    """Return a file of a commit; at most one byte more than `nbytes_max`.

    Raises:
        HubError: The Hub refuses or cannot be reached.
    """
    wanted = min(file.nbytes, nbytes_max + 1)
    return _begin(connection, repo_id, commit, file, lambda _: wanted)


def read_remote_header(
    connection: HubConnection, repo_id: str, commit: str, file: RemoteFile
) -> Header:
    """Return the header of a safetensors file of a commit.

    Raises:
        HubError: The Hub refuses or cannot be reached.
        CheckpointError: It is no header, is cut, or over `HEADER_NBYTES_WARN` bytes.
    """
    raw = _begin(connection, repo_id, commit, file, _wanted)
    name = Path(f"{repo_id}/{file.name}")
    length = int.from_bytes(raw[:_LENGTH_NBYTES], "little")
    if len(raw) < _LENGTH_NBYTES or length > HEADER_NBYTES_WARN:
        raise CheckpointError(
            name,
            f"header of {length:,} bytes, expected at most {HEADER_NBYTES_WARN:,}",
            code="header-too-large",
            hint="download the file to look at it",
        )
    if len(raw) < _LENGTH_NBYTES + length:
        raise CheckpointError(
            name,
            f"the Hub sent {len(raw):,} bytes of a header of {length:,}",
            code="truncated",
            hint="run the command again",
        )
    text = raw[_LENGTH_NBYTES : _LENGTH_NBYTES + length]
    return parse_header(name, text, file_nbytes=file.nbytes)


def _wanted(begin: bytes) -> int:
    """Return how many bytes the header needs, as far as its beginning tells."""
    if len(begin) < _LENGTH_NBYTES:
        return _LENGTH_NBYTES
    length = int.from_bytes(begin[:_LENGTH_NBYTES], "little")
    return _LENGTH_NBYTES + (length if length <= HEADER_NBYTES_WARN else 0)


def _begin(
    connection: HubConnection,
    repo_id: str,
    commit: str,
    file: RemoteFile,
    wanted: Callable[[bytes], int],
) -> bytes:
    address = hf_hub_url(
        repo_id, file.name, revision=commit, endpoint=connection.endpoint
    )

    def receive() -> bytes:
        found = bytearray()
        with connection.stream(address, start=0) as response:
            for chunk in response.iter_bytes():
                found += chunk
                if len(found) >= wanted(bytes(found[:_LENGTH_NBYTES])):
                    break
        return bytes(found[: wanted(bytes(found[:_LENGTH_NBYTES]))])

    doing = f"{repo_id}: read the beginning of {visible(file.name)}"
    if file.nbytes == 0:
        return b""
    return connection.read(doing, receive)
