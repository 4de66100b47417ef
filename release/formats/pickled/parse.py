"""From the bytes of a pickled checkpoint to a plan of its tensors.

This is what the child runs. It reads, it never executes, and it changes nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from release.errors import first_names, visible
from release.formats.pickled.allowed import Names
from release.formats.pickled.container import Archive, Member, read_archive
from release.formats.pickled.opcodes import Machine
from release.formats.pickled.plan import Plan, Record
from release.formats.pickled.sniff import require_zip
from release.formats.pickled.structure import find_state_dict
from release.formats.pickled.values import Storage, Tensor
from release.formats.pickled.views import (
    View,
    check_amplification,
    check_shape,
    check_view,
    join_dims,
)
from release.formats.refused import RefusedError
from release.formats.unzip.source import Source

_PICKLE: Final = "data.pkl"
_PICKLE_NBYTES_MAX: Final = 64 * 2**20
_TEXT_NBYTES_MAX: Final = 64
_VERSIONS: Final = range(1, 11)
_EXPECTED: Final = {
    _PICKLE,
    "version",
    "byteorder",
    ".format_version",
    ".storage_alignment",
    ".data/serialization_id",
}
_DEVICES: Final = ("cpu", "cuda", "mps", "xpu", "hpu", "xla", "npu", "privateuseone")


def parse(source: Source, *, stub_globals: bool) -> Plan:
    """Return which bytes of the file are which tensor.

    Args:
        source: The file.
        stub_globals: Whether Lightning's classes and NumPy's scalars outside the state
            dict are left out instead of refused.

    Raises:
        RefusedError: With the code of the first rule that the file breaks.
    """
    require_zip(source)
    archive = read_archive(source)
    _check_members(archive.members)
    is_big_endian = _read_texts(archive)
    names = Names(stub_globals=stub_globals)
    machine = Machine(archive.read(_PICKLE, _PICKLE_NBYTES_MAX, "pickle-size"), names)
    top = _walk(machine, names)
    state = find_state_dict(top)
    _check_storages(machine.storages.values(), archive.members)
    views, members = _views(state.tensors, archive.members)
    check_amplification(views, source.nbytes)
    _check_others(machine.tensors, archive.members)
    warnings = (
        *archive.warnings,
        *_unread(archive.members, machine.storages.keys()),
        *_endian_warning(is_big_endian=is_big_endian),
        *names.warnings(),
        *state.warnings,
        *_location_warning(machine.locations),
        *_sharing_warning(views),
    )
    records = tuple(
        Record(member.begin, member.nbytes, member.crc) for member in members
    )
    return Plan(views, records, is_big_endian, warnings)


def _walk(machine: Machine, names: Names) -> object:
    """Walk the pickle; a name that is not allowed counts more than what came of it."""
    try:
        top = machine.run()
    except RefusedError:
        names.require_allowed()
        raise
    names.require_allowed()
    return top


def _check_members(members: Mapping[str, Member]) -> None:
    for name in members:
        if name.casefold().endswith((".pkl", ".pickle")) and name != _PICKLE:
            raise RefusedError(
                "zip-member", f"holds a second pickle, {visible(name)}, expected one"
            )


def _read_texts(archive: Archive) -> bool:
    """Check version and byte order; return whether the data is big-endian."""
    version = archive.read("version", _TEXT_NBYTES_MAX, "format").strip()
    if not version.isdigit() or int(version) not in _VERSIONS:
        raise RefusedError(
            "format",
            f"is of version {visible(version.decode('latin-1'))}, "
            f"expected {_VERSIONS.start} to {_VERSIONS[-1]}",
        )
    if "byteorder" not in archive.members:
        return False
    order = archive.read("byteorder", _TEXT_NBYTES_MAX, "byteorder")
    if order not in {b"little", b"big"}:
        raise RefusedError(
            "byteorder",
            f"has the byte order {visible(order.decode('latin-1'))}, "
            f"expected little or big",
        )
    return order == b"big"


def _check_storages(storages: Iterable[Storage], members: Mapping[str, Member]) -> None:
    for storage in storages:
        member = members.get(f"data/{storage.key}")
        if member is None:
            raise RefusedError(
                "missing-record", f"storage {storage.key} has no record in the archive"
            )
        expected = storage.numel * storage.type.itemsize
        if member.nbytes != expected:
            raise RefusedError(
                "size-mismatch",
                f"storage {storage.key} has {member.nbytes:,} bytes, expected "
                f"{visible(expected, 40)} for {visible(storage.numel, 40)} elements of "
                f"{storage.type.name}",
            )
        if member.nbytes == 0 and member.crc:
            raise RefusedError("crc", f"storage {storage.key} is empty but has a CRC")


def _views(
    tensors: Mapping[str, Tensor], members: Mapping[str, Member]
) -> tuple[tuple[View, ...], list[Member]]:
    """Return the tensors in the order of their bytes, and the records they use."""
    used: dict[str, Member] = {}
    for tensor in tensors.values():
        key = tensor.storage.key
        used[key] = members[f"data/{key}"]
    ordered = sorted(used, key=lambda key: used[key].begin)
    numbers = {key: number for number, key in enumerate(ordered)}
    views = [
        _view(name, tensor, numbers[tensor.storage.key], members)
        for name, tensor in tensors.items()
    ]
    views.sort(key=lambda view: (view.record, view.offset, view.name))
    return tuple(views), [used[key] for key in ordered]


def _view(
    name: str, tensor: Tensor, record: int, members: Mapping[str, Member]
) -> View:
    check_shape(name, tensor.shape, tensor.strides)
    dims = join_dims(tensor.shape, tensor.strides)
    view = View(name, tensor.dtype, tensor.shape, record, tensor.offset, dims)
    check_view(view, members[f"data/{tensor.storage.key}"].nbytes)
    return view


def _check_others(tensors: Iterable[Tensor], members: Mapping[str, Member]) -> None:
    """Check the tensors outside the state dict too, though they are not read."""
    for tensor in tensors:
        _view(f"at byte {tensor.position} of data.pkl", tensor, 0, members)


def _unread(members: Mapping[str, Member], keys: Iterable[str]) -> Iterator[str]:
    known = _EXPECTED | {f"data/{key}" for key in keys}
    unread = [name for name in members if name not in known]
    if unread:
        yield (
            f"zip-member: {len(unread):,} members are not used: {first_names(unread)}"
        )


def _endian_warning(*, is_big_endian: bool) -> Iterator[str]:
    if is_big_endian:
        yield "byteorder: the file says it is big-endian; its values are swapped"


def _location_warning(locations: Iterable[str]) -> Iterator[str]:
    odd = sorted(
        location for location in locations if location.split(":")[0] not in _DEVICES
    )
    if odd:
        yield f"location: tensors were saved on unknown devices: {first_names(odd)}"


def _sharing_warning(views: Iterable[View]) -> Iterator[str]:
    by_record: dict[int, list[str]] = {}
    for view in views:
        if view.nbytes:
            by_record.setdefault(view.record, []).append(view.name)
    shared = [name for names in by_record.values() if len(names) > 1 for name in names]
    if shared:
        yield (
            f"shared-storage: {len(shared):,} tensors share their data and are written "
            f"in full: {first_names(shared)}"
        )
