"""What `krelease verify` prints."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from release.verify.damage import Damage
    from release.verify.report import FileVerdict, VerifyReport
    from release.verify.trust import Compared, Reached

_RANGES_SHOWN: Final = 5
"""Ranges of bytes that people get to see; with --json they are all there."""


def document(report: "VerifyReport") -> dict[str, object]:
    """Return everything that a script may want."""
    only = report.paths[0] if len(report.paths) == 1 else None
    return {
        "path": None if only is None else str(only),
        "paths": [str(path) for path in report.paths],
        "level": report.level,
        "release": report.release,
        "rehearsal": report.rehearsal,
        "intact": report.is_intact,
        "files": [_file(file) for file in report.files],
        "extra": list(report.extra),
        "absent": list(report.absent),
    }


def _file(file: "FileVerdict") -> dict[str, object]:
    reached = file.reached
    return {
        "name": file.name,
        "path": str(file.path),
        "verdict": file.verdict,
        "detail": file.detail,
        "nbytes": file.nbytes,
        "release": file.release,
        "variant": file.variant,
        "known_as": file.known_as,
        "tensors": list(file.tensors),
        "source": reached.source.kind if reached else None,
        "compared": reached.compared if reached else None,
        "trust": reached.sentence if reached else None,
        "damage": _damage(file.damage) if file.damage else None,
        "whole": asdict(file.whole) if file.whole else None,
        "findings": [asdict(each) for each in file.findings],
        "error": file.error.code if file.error else None,
    }


def _damage(damage: "Damage") -> dict[str, object]:
    return {
        "header": damage.has_header,
        "tensors": [asdict(each) for each in damage.tensors],
        "parts": damage.parts,
        "ranges": [list(each) for each in damage.ranges],
        "by_chunk": damage.by_chunk,
        "nbytes": damage.nbytes,
        "file_nbytes": damage.file_nbytes,
    }


def brief(report: "VerifyReport") -> list[str]:
    """Return the paths of what is bad."""
    from release.errors import visible

    return [visible(file.path, 4096) for file in report.bad]


def text(report: "VerifyReport") -> list[str]:
    """Return the report for people."""
    from release.errors import first_names

    lines: list[str] = []
    for row, file in zip(_rows(report), report.files, strict=True):
        lines += [row, *(f"  {line}" for line in _where(file))]
        lines += [f"  {each.severity}: {each.text}" for each in file.findings]
    if report.extra:
        lines.append(f"not part of the release: {first_names(report.extra)}")
    if report.absent:
        lines.append(f"on the Hub and not here: {first_names(report.absent)}")
    lines += _trust(report)
    if report.rehearsal:
        lines.append("this is a rehearsal: random weights, not a model")
    return lines


def _rows(report: "VerifyReport") -> list[str]:
    from release.console import columns
    from release.errors import visible
    from release.verify.report import TITLES

    return columns(
        [
            [TITLES[file.verdict], visible(file.name), file.detail]
            for file in report.files
        ]
    )


def _where(file: "FileVerdict") -> list[str]:
    """Return where a file is damaged, by parts of the model and ranges of bytes."""
    damage = file.damage
    if damage is None:
        return []
    parts = [f"{count:,} in {part}" for part, count in damage.parts.items()]
    if damage.has_header:
        parts.insert(0, "the header")
    unit = "chunks of 1 MiB" if damage.by_chunk else "whole tensors"
    ranges = [f"{begin:,} to {end - 1:,}" for begin, end in damage.ranges]
    rest = len(ranges) - _RANGES_SHOWN
    more = f" and {rest:,} more" if rest > 0 else ""
    lines = [f"damaged: {', '.join(parts)}"] if parts else []
    if ranges:
        shown = ", ".join(ranges[:_RANGES_SHOWN])
        lines.append(f"bytes {shown}{more}: {damage.extent}, by {unit}")
    return lines


def _trust(report: "VerifyReport") -> list[str]:
    """Return who vouched and what that is worth, once for the files that share it."""
    from release.verify.trust import NOBODY, common_sentence

    groups: dict[tuple[str, Compared], list[Reached]] = {}
    n_unknown = 0
    for file in report.files:
        if file.reached is not None:
            key = (file.reached.source.kind, file.reached.compared)
            groups.setdefault(key, []).append(file.reached)
        elif file.verdict == "unknown":
            n_unknown += 1
    found = [(len(group), common_sentence(group)) for group in groups.values()]
    found += [(n_unknown, NOBODY)] if n_unknown else []
    lines = [
        sentence if len(found) == 1 else f"{_files(count)}: {sentence}"
        for count, sentence in found
    ]
    if report.level == "xxh3" and any(how == "xxh3" for _, how in groups):
        lines.append("identity was not checked: --sha256")
    return lines


def _files(count: int) -> str:
    return f"{count:,} file" if count == 1 else f"{count:,} files"
