"""A file that ends too early: what there is of it."""

from dataclasses import replace
from typing import Final

from release.claims.claim import Claim, Source
from release.errors import visible
from release.verify.damage import Whole
from release.verify.examine import Examination
from release.verify.report import FileVerdict
from release.verify.unfulfilled import Unfulfilled

_STATED: Final = Source("header", "what its header says of its size")
_LENGTH_NBYTES: Final = 8
_SUFFIX: Final = ".safetensors"
_ENDS_EARLY: Final = "header-length"


def is_cut(examined: Examination, claim: Claim) -> bool:
    """Return whether the file is the beginning of the one that is claimed."""
    header, fault = examined.header, examined.fault
    if header is not None:
        names = {each.name for each in claim.tensors}
        is_of_it = not names or names == {each.name for each in header.tensors}
        return fault is not None and fault.code == "truncated" and is_of_it
    if claim.header_nbytes is None or examined.nbytes >= claim.header_nbytes:
        return False
    length = (claim.header_nbytes - _LENGTH_NBYTES).to_bytes(_LENGTH_NBYTES, "little")
    begin = examined.file.read(0, min(examined.nbytes, _LENGTH_NBYTES))
    return length.startswith(begin)


def by_stated_size(name: str, examined: Examination) -> FileVerdict | None:
    """Return the answer for a file whose own header says that its length is wrong.

    None if the length is right, or there is no header.
    """
    if examined.header is None or examined.fault is None:
        return None
    claim = Claim(_STATED, nbytes=_stated_nbytes(examined))
    case = Unfulfilled(name, examined, claim, None)
    if examined.fault.code == "truncated":
        return cut(case)
    return case.verdict("damaged", examined.fault.reason, compared="size")


def in_header(name: str, examined: Examination) -> FileVerdict | None:
    """Return the answer for a safetensors file that ends inside its header.

    None where that is not certain: the name, or the first byte of the header, is
    another one.
    """
    fault, nbytes = examined.fault, examined.nbytes
    is_meant = examined.path.suffix == _SUFFIX and examined.header is None
    if fault is None or not is_meant or fault.code not in {"too-short", _ENDS_EARLY}:
        return None
    if fault.code == "too-short" and nbytes >= _LENGTH_NBYTES:
        return None
    detail = f"ends after {nbytes:,} bytes, inside the length of its header"
    if nbytes >= _LENGTH_NBYTES:
        raw = examined.file.read(0, min(nbytes, _LENGTH_NBYTES + 1))
        if raw[_LENGTH_NBYTES:] not in {b"", b"{"}:
            return None
        end = _LENGTH_NBYTES + int.from_bytes(raw[:_LENGTH_NBYTES], "little")
        detail = f"ends after {nbytes:,} bytes, inside its header of {end:,}"
    if not nbytes:
        detail = "is empty"
    return FileVerdict(name, "truncated", detail, nbytes, examined.path)


def cut(case: Unfulfilled) -> FileVerdict:
    """Return the answer for a file that was cut, with what is whole in it."""
    examined = case.examined
    if case.own is not None and not case.claim.tensors:
        case = replace(case, claim=case.own)
    claimed = case.claim.tensors
    stated = {each.name: each.xxh3_128 for each in claimed}
    present = [entry.name for entry in examined.present()]
    is_whole = {
        name
        for name in present
        if not stated or examined.tensors.get(name) == stated.get(name)
    }
    entries = examined.header.tensors if examined.header else ()
    names = [each.name for each in claimed or entries]
    whole = Whole(
        nbytes=examined.nbytes,
        file_nbytes=case.claim.nbytes or _stated_nbytes(examined),
        n_whole=len(is_whole),
        n_tensors=len(names),
        cut=_tensor_at_the_end(examined),
        is_compared=bool(stated),
    )
    return case.verdict(
        "truncated",
        _detail(examined, whole, n_damaged=len(present) - len(is_whole)),
        tensors=tuple(sorted(set(names) - is_whole)),
        whole=whole,
        compared="xxh3" if stated else "size",
    )


def _stated_nbytes(examined: Examination) -> int:
    if examined.header is None:
        return examined.nbytes
    ends = (entry.end for entry in examined.header.tensors)
    return examined.header.nbytes + max(ends, default=0)


def _tensor_at_the_end(examined: Examination) -> str | None:
    if examined.header is None:
        return None
    room = examined.nbytes - examined.header.nbytes
    entries = examined.header.tensors
    return next((each.name for each in entries if each.begin < room < each.end), None)


def _detail(examined: Examination, whole: Whole, *, n_damaged: int) -> str:
    detail = (
        f"ends after {whole.nbytes:,} of {whole.file_nbytes:,} bytes: "
        f"{whole.n_whole:,} of {whole.n_tensors:,} tensors are "
        f"{'whole' if whole.is_compared else 'there'}"
    )
    if examined.header is None:
        detail += "; it ends inside the header"
    elif whole.cut is not None:
        detail += f"; it ends inside {visible(whole.cut)}"
    if n_damaged:
        detail += f"; {n_damaged:,} of those that are there are damaged"
    return detail
