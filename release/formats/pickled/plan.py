"""The plan of a pickled checkpoint, and its passage from the child to the parent.

The child has read hostile bytes, so its answer is read like one more hostile file:
every type and every bound is checked again, against the size of the real file.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeGuard, TypeVar

from release.errors import visible
from release.formats.limits import TENSORS_MAX
from release.formats.pickled.faults import FAULTS
from release.formats.pickled.structure import check_name
from release.formats.pickled.views import (
    View,
    check_amplification,
    check_shape,
    check_view,
)
from release.formats.refused import RefusedError
from release.numeric.dtype import BY_CODE

ANSWER_NBYTES_MAX: Final = 64 * 2**20
"""Bytes of an answer; 200,000 tensors with ordinary names take half of it."""

_UINT32_MAX: Final = 2**32 - 1
_WARNINGS_MAX: Final = 64
_WARNING_LENGTH_MAX: Final = 8192
_WARNING: Final = re.compile(r"[a-z]+(-[a-z]+)*: ", re.ASCII)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Record:
    """A stored range of the file: first byte, bytes, CRC-32 (None if it has none)."""

    begin: int
    nbytes: int
    crc: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """Which bytes are which tensor.

    Attributes:
        views: In the order of their bytes.
        records: The records they use, in the order of the file.
        is_big_endian: Whether every element is to be swapped.
        warnings: One line each, beginning with a stable word.
    """

    views: tuple[View, ...]
    records: tuple[Record, ...]
    is_big_endian: bool
    warnings: tuple[str, ...]


def encode_plan(plan: Plan) -> bytes:
    """Return the answer of a child that accepts its file."""
    views = [
        [view.name, view.dtype.code, view.shape, view.record, view.offset, view.dims]
        for view in plan.views
    ]
    records = [[record.begin, record.nbytes, record.crc] for record in plan.records]
    return _encode(
        {
            "views": views,
            "records": records,
            "is_big_endian": plan.is_big_endian,
            "warnings": plan.warnings,
        }
    )


def encode_refusal(refusal: RefusedError) -> bytes:
    """Return the answer of a child that refuses its file."""
    return _encode({"refusal": [refusal.code, refusal.reason, refusal.advice]})


def _encode(answer: dict[str, object]) -> bytes:
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()


def decode_answer(raw: bytes, file_nbytes: int) -> Plan:
    """Return the plan that a child has sent.

    Args:
        raw: Everything the child wrote.
        file_nbytes: Bytes of the file, which no range may leave.

    Raises:
        RefusedError: What the child refused; `pickle-reader` when the answer itself is
            wrong.
    """
    try:
        answer = json.loads(raw)
    except (ValueError, RecursionError):
        raise _bad("is not JSON") from None
    match answer:
        case {"refusal": [str(code), str(reason), str(advice)], **rest} if not rest:
            if code not in FAULTS or advice not in FAULTS:
                raise _bad("names an unknown code")
            raise RefusedError(code, reason, advice)
        case {
            "views": list(views),
            "records": list(records),
            "is_big_endian": bool(is_big_endian),
            "warnings": list(warnings),
            **rest,
        } if not rest:
            plan = Plan(
                _all(views, _view),
                _all(records, _record),
                is_big_endian,
                _all(warnings, _warning),
            )
            _check(plan, file_nbytes)
            return plan
        case _:
            raise _bad("has not the fields of a plan")


def _all(values: list[object], read: Callable[[object], T]) -> tuple[T, ...]:
    return tuple(read(value) for value in values)


def _view(value: object) -> View:
    match value:
        case [str(name), str(code), shape, record, offset, list(dims)] if (
            code in BY_CODE
            and _are_sizes(shape)
            and _is_size(record)
            and _is_size(offset)
            and all(_are_sizes(dim) and len(dim) == 2 for dim in dims)
        ):
            pairs = tuple((dim[0], dim[1]) for dim in dims)
            return View(name, BY_CODE[code], tuple(shape), record, offset, pairs)
    raise _bad("holds a tensor of wrong form")


def _record(value: object) -> Record:
    match value:
        case [begin, nbytes, crc] if _is_size(begin) and _is_size(nbytes):
            if crc is None or (_is_size(crc) and crc <= _UINT32_MAX):
                return Record(begin, nbytes, crc)
    raise _bad("holds a record of wrong form")


def _warning(value: object) -> str:
    if not isinstance(value, str) or not _WARNING.match(value):
        raise _bad("holds a warning of wrong form")
    return visible(value, _WARNING_LENGTH_MAX)


def _is_size(value: object) -> TypeGuard[int]:
    """Return whether a value is a plain integer from 0; True is an int too."""
    return type(value) is int and value >= 0


def _are_sizes(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(_is_size(item) for item in value)


def _check(plan: Plan, file_nbytes: int) -> None:
    """Check the plan as a whole; whatever is wrong, the child should have found it."""
    if not 0 < len(plan.views) <= TENSORS_MAX or len(plan.warnings) > _WARNINGS_MAX:
        raise _bad("holds too many tensors or warnings, or none")
    if len({view.name for view in plan.views}) != len(plan.views):
        raise _bad("names a tensor twice")
    position = 0
    for record in plan.records:
        if record.begin < position or record.begin + record.nbytes > file_nbytes:
            raise _bad("holds a record that overlaps another or leaves the file")
        position = record.begin + record.nbytes
    try:
        for view in plan.views:
            _check_view(view, plan.records)
        check_amplification(plan.views, file_nbytes)
    except RefusedError as refusal:
        raise _bad(f"breaks a rule: {refusal.reason}") from None


def _check_view(view: View, records: tuple[Record, ...]) -> None:
    check_name(view.name)
    check_shape(view.name, view.shape, [stride for _, stride in view.dims])
    sizes = [size for size, _ in view.dims]
    if math.prod(sizes) != math.prod(view.shape) or view.dtype.bits % 8:
        raise _bad("holds a tensor whose dimensions contradict one another")
    if view.record >= len(records):
        raise _bad("holds a tensor of a record that is not there")
    check_view(view, records[view.record].nbytes)


def _bad(reason: str) -> RefusedError:
    return RefusedError(
        "pickle-reader",
        f"the process that reads the pickle gave an answer that {reason}",
    )
