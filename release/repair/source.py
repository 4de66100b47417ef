"""Where whole bytes come from: another copy on disk, or a server (`release.hub`)."""

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Protocol

from release.claims.beside import claims_beside, folder_claims, record_claims
from release.claims.claim import Claim
from release.errors import InputError, UsageError, visible
from release.formats.input import InputFile
from release.formats.scan import blocks
from release.numeric.digest import Bytes
from release.repair.alike import claim_forms, is_same, read_own_header


class RangeSource(Protocol):
    """A copy of the file that can be read by byte range.

    Nothing that it says is trusted: its size and SHA-256 are compared with what the
    file must be, its bytes with their digests.
    """

    @property
    def label(self) -> str:
        """What it is called in a sentence; safe for a terminal, without secrets."""

    @property
    def nbytes(self) -> int:
        """Bytes of the whole copy."""

    @property
    def takes_whole(self) -> bool:
        """Whether only all of it can be read, and no range."""

    @property
    def sha256(self) -> str | None:
        """SHA-256 that its keeper states, 64 lower-case digits; None: states none."""

    def read_range(self, begin: int, end: int) -> Generator[Bytes, None, None]:
        """Yield exactly the bytes from `begin` to `end` (excluded), in order.

        A block is valid until the next one is asked for.

        Raises:
            HubError: The server refuses, stumbles, or answers something else.
            InputError: The copy on disk changed or cannot be read.
        """

    def close(self) -> None:
        """Give up files and connections."""


@dataclass(frozen=True, slots=True)
class OpenSource:
    """A source of ranges, and what is said about the file where it lies.

    The claims call the file by the name that it has here.
    """

    ranges: RangeSource
    claims: tuple[Claim, ...]


@contextmanager
def open_copy(
    path: Path, damaged: Path, claims: Sequence[Claim] = ()
) -> Iterator[OpenSource]:
    """Open another copy on disk; use it in a `with` statement.

    Args:
        path: The copy, or the folder that holds it: under the file's name, or under
            another one by which its manifest or sums know it.
        damaged: The file to repair.
        claims: What is said about the file already.

    Raises:
        InputError: The copy cannot be opened, or a folder does not have it.
        UsageError: `same-file`.
        IntegrityError: What lies beside the copy is not what its name promises.
    """
    if path.is_dir():
        path /= _name_in(path, damaged, claims)
    with closing(FileSource(path, damaged=damaged)) as source:
        beside = [each for each in claims_beside(path) if each.file_name == path.name]
        yield OpenSource(source, _beside_source(renamed(beside, damaged)))


def renamed(claims: Iterable[Claim], damaged: Path) -> tuple[Claim, ...]:
    """Return claims about one file, which is called otherwise here."""
    return tuple(replace(claim, name=damaged.name) for claim in claims)


def _name_in(folder: Path, damaged: Path, claims: Sequence[Claim]) -> str:
    """Return what a folder calls the file.

    Raises:
        InputError: `not-found`; neither its name nor what is known of it is there.
    """
    if os.path.lexists(folder / damaged.name):
        return damaged.name
    records = map(record_claims, sorted(folder.glob("*.safetensors")))
    said = (*folder_claims(folder), *chain.from_iterable(records))
    listed = [each for each in said if each.name]
    known = {each.sha256 for each in claims if each.file_name in {None, damaged.name}}
    with InputFile(damaged) as file:
        own = read_own_header(file)
    for claim in listed:
        is_known = claim.sha256 in known - {None}
        if is_known or is_same(own, claim_forms(claim)):
            return str(claim.name)
    names = sorted({str(each.name) for each in listed if each.tensors})
    example = visible(folder / (names[0] if names else "FILE"), 1024)
    raise InputError(
        folder,
        f"has no {visible(damaged.name)}, and no list in it knows the file by its "
        "tensors or its SHA-256",
        code="not-found",
        hint=f"name the copy itself, for example --from {example}",
    )


def _beside_source(claims: Iterable[Claim]) -> tuple[Claim, ...]:
    return tuple(
        replace(
            each,
            source=replace(each.source, label=f"{each.source.label} beside the source"),
        )
        for each in claims
    )


class FileSource:
    """A copy on disk.

    Args:
        path: The copy.
        damaged: The file to repair, which must be another one.

    Raises:
        InputError: The copy cannot be opened.
        UsageError: `same-file`.
    """

    sha256 = None
    takes_whole = False

    def __init__(self, path: Path, *, damaged: Path) -> None:
        self._file = InputFile(path)
        self.label = visible(path, 1024)
        self.nbytes = self._file.nbytes
        if damaged.exists() and os.path.samestat(
            os.fstat(self._file.fileno()), damaged.stat()
        ):
            self._file.close()
            raise UsageError(
                f"--from {self.label}: is the file to repair itself",
                code="same-file",
                hint="name another copy of it",
            )

    def read_range(self, begin: int, end: int) -> Generator[Bytes, None, None]:
        """Yield the bytes from `begin` to `end`; see `RangeSource`."""
        yield from blocks(self._file, begin, end)
        self._file.check_unchanged()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
