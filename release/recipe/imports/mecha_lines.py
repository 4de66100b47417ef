"""The lines of a `.mecha` text: instructions with arguments.

Source:
    sd-mecha 1.1.8, `serialization.py`. The reading here differs in one thing: an equals
    sign inside of quotes belongs to the text.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, TypeAlias

from release.errors import RecipeError, visible
from release.recipe.imports.foreign import check_size, exact

VERSION_LINE: Final = "version 0.1.0"
COMMANDS: Final = frozenset({"model", "dict", "literal", "merge"})
_LINES_MAX: Final = 2000
_ARGUMENTS_MAX: Final = 100

_ARGUMENT: Final = re.compile(
    r'(?:(?P<key>[A-Za-z_][\w.-]*)=)?(?:"(?P<text>(?:[^"\\]|\\.)*)"|(?P<word>[^\s"=]+))'
    r"(?=\s|$)",
    re.ASCII,
)
_REFERENCE: Final = re.compile(r"&(\d{1,5})", re.ASCII)
_CONSTANTS: Final[Mapping[str, bool | None]] = {
    "null": None,
    "true": True,
    "false": False,
}


@dataclass(frozen=True, slots=True)
class Reference:
    """`&n`: the result of another line, numbered from 0."""

    index: int


Argument: TypeAlias = Reference | Fraction | str | bool | None


@dataclass(frozen=True, slots=True)
class Line:
    """One instruction.

    Attributes:
        number: Line of the text, from 1; comments count.
        command: One of `COMMANDS`.
        positional: Arguments without a name, in order.
        named: Arguments with one.
    """

    number: int
    command: str
    positional: tuple[Argument, ...]
    named: Mapping[str, Argument]

    def error(self, reason: str, *, code: str = "import-mecha-line") -> RecipeError:
        """Return the error that names this line."""
        return line_error(self.number, reason, code=code)


def line_error(
    number: int,
    reason: str,
    *,
    code: str = "import-mecha-line",
    hint: str = "sd-mecha 1.1.8 writes such files; write the recipe by hand",
) -> RecipeError:
    """Return the error for a line of the text, counted from 1."""
    return RecipeError(f"line {number}: {reason}", code=code, hint=hint)


def read_lines(text: str) -> Iterator[Line]:
    """Yield the instructions of a `.mecha` text.

    Raises:
        RecipeError: Code "import-mecha-version", "import-mecha-line",
            "import-number" or "import-too-large".
    """
    check_size(text, place="the .mecha text")
    # A line feed at the very end closes the last line; others make blank lines.
    lines = text.removesuffix("\n").split("\n")
    if lines[0] != VERSION_LINE:
        raise line_error(
            1,
            f"got '{visible(lines[0], 60)}', expected '{VERSION_LINE}'",
            code="import-mecha-version",
        )
    if len(lines) > _LINES_MAX:
        raise line_error(
            _LINES_MAX + 1,
            f"expected at most {_LINES_MAX:,} lines",
            code="import-too-large",
        )
    for number, content in enumerate(lines[1:], 2):
        stripped = content.strip()
        if not stripped:
            raise line_error(number, "got a blank line, expected an instruction")
        if not stripped.startswith("#"):
            yield _line(number, stripped)


def _line(number: int, content: str) -> Line:
    command, _, rest = content.partition(" ")
    if command not in COMMANDS:
        raise line_error(
            number,
            f"got the instruction '{visible(command, 40)}', expected"
            f" {', '.join(sorted(COMMANDS))}",
        )
    positional: list[Argument] = []
    named: dict[str, Argument] = {}
    for key, value in _arguments(number, rest.strip()):
        if key is None:
            positional.append(value)
        elif key in named:
            raise line_error(number, f"got the argument {visible(key, 40)} twice")
        else:
            named[key] = value
        if len(positional) + len(named) > _ARGUMENTS_MAX:
            raise line_error(number, f"expected at most {_ARGUMENTS_MAX} arguments")
    return Line(number, command, tuple(positional), named)


def _arguments(number: int, rest: str) -> Iterator[tuple[str | None, Argument]]:
    position = 0
    while position < len(rest):
        if rest[position].isspace():
            position += 1
            continue
        match = _ARGUMENT.match(rest, position)
        if match is None:
            shown = visible(rest[position:], 40)
            raise line_error(number, f"got '{shown}', expected an argument")
        yield match["key"], _value(number, match)
        position = match.end()


def _value(number: int, match: re.Match[str]) -> Argument:
    if match["text"] is not None:
        return re.sub(r"\\(.)", r"\1", match["text"])
    word = match["word"]
    if word in _CONSTANTS:
        return _CONSTANTS[word]
    reference = _REFERENCE.fullmatch(word)
    if reference:
        return Reference(int(reference[1]))
    return exact(word, place=f"line {number}")
