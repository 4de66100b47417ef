"""The zip archive around a checkpoint: its members, and where their bytes lie.

Read strictly, because two readers that find different members see two models. Sizes
come from the central directory; everything that a local header repeats must agree.

Source:
    PKWARE APPNOTE 6.3.10, section 4.3.
"""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from release.errors import visible
from release.formats.refused import RefusedError
from release.formats.unzip.end import find_directory
from release.formats.unzip.entries import (
    FOLDER_ATTRIBUTE,
    STORED,
    Entry,
    check_kind,
    read_entries,
)
from release.formats.unzip.places import place_entries
from release.formats.unzip.source import Source

_METHODS: Final = (STORED,)
_MEMBERS_WARN: Final = 5_000
_NAME_NBYTES_MAX: Final = 1024


@dataclass(frozen=True, slots=True)
class Member:
    """One stored record of the archive.

    Attributes:
        name: Path inside the root folder; foreign text, never a path of ours.
        begin: First byte of its data, from the start of the file.
        nbytes: Bytes of its data.
        crc: CRC-32 of the data; None when it was saved without one.
    """

    name: str
    begin: int
    nbytes: int
    crc: int | None


@dataclass(frozen=True, slots=True)
class Archive:
    """A checked archive.

    Attributes:
        source: The file.
        members: By name, without the root folder.
        warnings: Oddities of the archive.
    """

    source: Source
    members: Mapping[str, Member]
    warnings: tuple[str, ...]

    def read(self, name: str, nbytes_max: int, code: str) -> bytes:
        """Return a member's bytes, verified by their CRC.

        Raises:
            RefusedError: `code` when the member is missing or larger than
                `nbytes_max`; `crc`.
        """
        member = self.members.get(name)
        if member is None or member.nbytes > nbytes_max:
            got = "no" if member is None else f"{member.nbytes:,} bytes of"
            raise RefusedError(
                code, f"archive holds {got} {name}, expected at most {nbytes_max:,}"
            )
        data = self.source.read(member.begin, member.nbytes)
        found = zlib.crc32(data)
        if member.crc not in {None, found}:
            raise RefusedError(
                "crc", f"{name} has CRC-32 {found:08x}, expected {member.crc:08x}"
            )
        return data


def read_archive(source: Source) -> Archive:
    """Return the members of the archive, none of them overlapping another.

    Raises:
        RefusedError: `format`, `torchscript`, `compressed`, `zip-duplicate`,
            `zip-flags`, `zip-member` or `zip-mismatch`.
    """
    directory = find_directory(source)
    entries = read_entries(source, directory)
    _check_purpose({entry.name.rpartition("/")[2].casefold() for entry in entries})
    for entry in entries:
        check_kind(entry.name, entry.flags, entry.method, _METHODS)
        _check_is_record(entry)
        _check_name(entry.name)
    _check_unique(entries)
    root = _root(entries)
    members: dict[str, Member] = {}
    begins = place_entries(source, entries, directory.offset, methods=_METHODS)
    for entry, begin in zip(entries, begins, strict=True):
        name = entry.name.removeprefix(root)
        crc = None if entry.crc == 0 and entry.nbytes else entry.crc
        members[name] = Member(name, begin, entry.nbytes, crc)
    return Archive(source, members, (*directory.warnings, *_warnings(members)))


def _check_purpose(last_names: set[str]) -> None:
    """Refuse archives of other kinds before anything about their members is said."""
    if "data.pkl" not in last_names:
        raise RefusedError(
            "format",
            "is a zip archive without data.pkl, expected a PyTorch checkpoint",
            "format-other",
        )
    if "constants.pkl" in last_names:
        raise RefusedError(
            "torchscript",
            "is a TorchScript program, expected a checkpoint of plain tensors",
        )


def _check_is_record(entry: Entry) -> None:
    if entry.attributes & FOLDER_ATTRIBUTE:
        raise RefusedError(
            "zip-flags",
            f"member {visible(entry.name)} is marked as a folder, expected a record",
        )


def _check_name(name: str) -> None:
    is_safe = (
        len(name.encode()) <= _NAME_NBYTES_MAX
        and "\\" not in name
        and all(ord(char) >= 32 for char in name)
        and not {"", ".", ".."} & set(name.split("/"))
    )
    if not is_safe:
        raise RefusedError(
            "zip-member",
            f"member {visible(name)} has a name that leaves the archive's folder, or "
            f"hides something",
        )


def _check_unique(entries: list[Entry]) -> None:
    """PyTorch looks members up without regard to case, so case makes no name unique."""
    seen: set[str] = set()
    for entry in entries:
        folded = entry.name.casefold()
        if folded in seen:
            raise RefusedError(
                "zip-duplicate",
                f"member {visible(entry.name)} is there twice, expected unique names",
            )
        seen.add(folded)


def _root(entries: list[Entry]) -> str:
    """Return the one folder that holds every member, with its slash."""
    roots = {entry.name.partition("/")[:2] for entry in entries}
    if len(roots) != 1 or not all(slash for _, slash in roots):
        shown = ", ".join(sorted(visible(folder, 40) for folder, _ in roots)[:5])
        raise RefusedError(
            "zip-member", f"members lie in several folders ({shown}), expected one"
        )
    folder, slash = roots.pop()
    return folder + slash


def _warnings(members: Mapping[str, Member]) -> Iterator[str]:
    if len(members) > _MEMBERS_WARN:
        yield f"zip-member: the archive has {len(members):,} members"
    n_unverifiable = sum(member.crc is None for member in members.values())
    if n_unverifiable:
        yield (
            f"no-crc: {n_unverifiable:,} records carry no checksum and cannot be "
            f"verified"
        )
