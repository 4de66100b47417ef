"""Every error a user can meet, and the exit code each kind ends with.

    ReleaseError 1
    ├─ UsageError 2
    ├─ RecipeError 3         recipe, definition: path and key path inside the file
    ├─ CheckpointError 4     HeaderError LayoutError DtypeError ShapeError
    │                        TensorMismatchError ValueRangeError InputError
    ├─ IntegrityError 5      digests, sizes, forbidden paths
    ├─ ParityError 6         two checkpoints that should hold the same values
    ├─ CardError 7           template, licence, undefined variable
    ├─ HubError 8            refused, not found, moved, unreachable
    └─ OutputError 9         OutputExistsError NoSpaceError WriteError

`code` is a stable kebab-case word for scripts; it never changes once released.
The message is one line: what (file, tensor or key), got, expected. `hint` is the next
step.
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

_TEXT_LIMIT = 200
_EXCERPT_WIDTH = 76
_WIDE = frozenset("WF")
"""East Asian widths of characters that take two columns of a terminal."""


def visible(text: object, limit: int = _TEXT_LIMIT) -> str:
    """Return foreign text made safe for one line of a terminal.

    Names and metadata of a checkpoint are hostile: control characters and line
    separators become escapes, format and bidi characters too, and the length is capped.

    Args:
        text: Anything; `str()` is applied.
        limit: Characters kept before "… (n more)".
    """
    raw = str(text)
    shown = "".join(_visible_character(char) for char in raw[:limit])
    rest = len(raw) - limit
    return f"{shown}… ({rest} more)" if rest > 0 else shown


def _visible_character(char: str) -> str:
    if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn"}:
        return f"\\u{ord(char):04x}"
    return char


def first_names(names: Iterable[str], shown: int = 5) -> str:
    """Return the first five names and how many more there are."""
    known = list(names)
    text = ", ".join(visible(name) for name in known[:shown])
    rest = len(known) - shown
    return f"{text} and {rest} more" if rest > 0 else text


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A text that somebody wrote and the place in it that is wrong.

    `column` counts characters from 1; one beyond the last is the end.
    """

    text: str
    column: int

    @property
    def lines(self) -> tuple[str, str]:
        """The part of the text around the place, and a caret below the place.

        Both are safe for a terminal of 80 columns; "…" stands for what is left out.
        """
        at = min(self.column, len(self.text) + 1) - 1
        # An escape is up to 10 columns wide, so characters are taken by their width.
        before = _fitting(reversed(self.text[:at]), _EXCERPT_WIDTH * 2 // 3)[::-1]
        room = _EXCERPT_WIDTH - sum(map(_width, before))
        after = _fitting(iter(self.text[at:]), room)
        left = "…" if len(before) < at else ""
        right = "…" if len(after) < len(self.text) - at else ""
        shown = f"{left}{''.join(before)}{''.join(after)}{right}"
        return shown, " " * (len(left) + sum(map(_width, before))) + "^"


def _fitting(characters: Iterable[str], width: int) -> list[str]:
    """Return the first of `characters`, made visible, that fit into `width` columns."""
    taken: list[str] = []
    for char in characters:
        shown = _visible_character(char)
        width -= _width(shown)
        if width < 0:
            break
        taken.append(shown)
    return taken


def _width(text: str) -> int:
    """Return how many columns of a terminal visible characters take."""
    return sum(
        0
        if unicodedata.combining(char)
        else 1 + (unicodedata.east_asian_width(char) in _WIDE)
        for char in text
    )


class ReleaseError(Exception):
    """Base of all errors that are the user's to solve.

    Args:
        message: One line, already safe for a terminal.
        code: Stable word for scripts; the class default where not given.
        hint: What to do next, one line, or empty.
    """

    exit_code: ClassVar[int] = 1
    default_code: ClassVar[str] = "release"

    def __init__(self, message: str, *, code: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.hint = hint


class UsageError(ReleaseError):
    """A command line that cannot be followed."""

    exit_code = 2
    default_code = "usage"


class RecipeError(ReleaseError):
    """A recipe or release definition that says something impossible.

    Args:
        excerpt: The expression, and where in it, if the error has a place in one.
    """

    exit_code = 3
    default_code = "recipe"

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        hint: str = "",
        excerpt: Excerpt | None = None,
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.excerpt = excerpt

    def within(self, origin: str) -> "RecipeError":
        """Return the same error with the file that it is in named first."""
        return RecipeError(
            f"{visible(origin, 1024)}: {self}",
            code=self.code,
            hint=self.hint,
            excerpt=self.excerpt,
        )


class CheckpointError(ReleaseError):
    """A checkpoint that cannot be read as what it claims to be."""

    exit_code = 4
    default_code = "checkpoint"

    def __init__(
        self, path: Path | str, reason: str, *, code: str = "", hint: str = ""
    ) -> None:
        super().__init__(f"{visible(path, 1024)}: {reason}", code=code, hint=hint)
        self.path = Path(path)
        self.reason = reason


class InputError(CheckpointError):
    """The file is missing, is not a regular file, or changed while being read."""

    default_code = "input"


class HeaderError(CheckpointError):
    """The header is not a safetensors header."""

    default_code = "header"


class LayoutError(CheckpointError):
    """The tensors do not cover the data: cut, overlap, hole, bytes left over."""

    default_code = "layout"


class DtypeError(CheckpointError):
    """A dtype that is unknown, or cannot hold what was asked of it."""

    default_code = "dtype"


class ShapeError(CheckpointError):
    """A shape that is impossible or differs from the expected one."""

    default_code = "shape"


class TensorMismatchError(CheckpointError):
    """A checkpoint lacks tensors, or has others, than its peer or architecture."""

    default_code = "tensors"


class ValueRangeError(CheckpointError):
    """NaN or infinity in an input, or a result that the target dtype cannot hold."""

    default_code = "values"


class IntegrityError(ReleaseError):
    """Bytes that are not what their digest says."""

    exit_code = 5
    default_code = "integrity"


class ParityError(ReleaseError):
    """Two checkpoints that should hold the same values and do not."""

    exit_code = 6
    default_code = "parity"


class CardError(ReleaseError):
    """A model card that cannot be rendered or would be untrue."""

    exit_code = 7
    default_code = "card"


class HubError(ReleaseError):
    """The Hub refused, does not know, moved meanwhile, or cannot be reached.

    Args:
        retryable: Running the same command again may succeed without a change.
    """

    exit_code = 8
    default_code = "hub"

    def __init__(
        self, message: str, *, code: str = "", hint: str = "", retryable: bool = False
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.retryable = retryable


class OutputError(ReleaseError):
    """The result cannot be written."""

    exit_code = 9
    default_code = "output"


class OutputExistsError(OutputError):
    """The target is already there and overwriting was not asked for."""

    default_code = "output-exists"

    def __init__(self, path: Path, *, hint: str = "") -> None:
        super().__init__(
            f"{visible(path, 1024)}: already exists",
            hint=hint or "pass --force to replace it, or name another place",
        )
        self.path = path


class NoSpaceError(OutputError):
    """The target's file system has too little room, known before anything is read."""

    default_code = "no-space"

    def __init__(self, path: Path, *, needed: int, free: int) -> None:
        super().__init__(
            f"{visible(path, 1024)}: needs {needed:,} bytes, {free:,} are free",
            hint="write fewer variants, or choose a folder on another disk",
        )
        self.path = path
        self.needed = needed
        self.free = free


class WriteError(OutputError):
    """The operating system refused a write, or what was written does not read back."""

    default_code = "write"
