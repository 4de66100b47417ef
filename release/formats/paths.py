"""Relative paths named inside other files: manifests, indexes, archives, listings.

One function decides which of them may be used below a folder of ours. `~`, `%2e` and
leading hyphens are ordinary characters: nothing here is expanded or decoded.
"""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Final

from release.errors import IntegrityError, visible

_NBYTES_MAX: Final = 1024
_FORBIDDEN_CATEGORIES: Final = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_FORBIDDEN_COMPONENTS: Final = {"", ".", "..", ".git", ".cache"}
_DEVICE: Final = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])", re.IGNORECASE
)


def safe_relative_path(text: str) -> PurePosixPath:
    """Return `text` as a path that stays below any folder on any system.

    Raises:
        IntegrityError: `path`, with the reason.
    """
    reason = _objection(text)
    if reason:
        raise IntegrityError(
            f"path {visible(text)} {reason}",
            code="path",
            hint="do not use the file that names this path",
        )
    return PurePosixPath(text)


def safe_relative_paths(texts: Iterable[str]) -> list[PurePosixPath]:
    """Return all of `texts` as safe paths, no two of them equal on any system.

    Raises:
        IntegrityError: `path`; two paths that differ in case only are refused too.
    """
    paths: list[PurePosixPath] = []
    seen: dict[str, str] = {}
    for text in texts:
        paths.append(safe_relative_path(text))
        other = seen.setdefault(text.casefold(), text)
        if len(seen) < len(paths):
            raise IntegrityError(
                f"paths {visible(other)} and {visible(text)} are the same file on some "
                f"systems",
                code="path",
                hint="rename one of the two files",
            )
    return paths


def _objection(text: str) -> str:
    """Return why `text` is refused, or nothing."""
    if any(unicodedata.category(char) in _FORBIDDEN_CATEGORIES for char in text):
        return "holds a control, format or unassigned character"
    if len(text.encode()) > _NBYTES_MAX:
        return f"is longer than {_NBYTES_MAX:,} bytes"
    if "\\" in text or ":" in text:
        return "holds a backslash or colon"
    if unicodedata.normalize("NFC", text) != text:
        return "is not in Unicode form NFC"
    objections = (_component_objection(part) for part in text.split("/"))
    return next((objection for objection in objections if objection), "")


def _component_objection(component: str) -> str:
    if component.casefold() in _FORBIDDEN_COMPONENTS:
        return "has an empty, relative or reserved component"
    if component[-1] in ". ":
        return "has a component that ends in a dot or space"
    if _DEVICE.fullmatch(component.split(".", 1)[0].rstrip(" ")):
        return "has a component that is a device on Windows"
    return ""
