"""Small TOML files that people write or download: definitions and rules."""

import re
import tomllib
from pathlib import Path
from typing import Any, Final

from release.errors import RecipeError, visible

TOML_NBYTES_MAX: Final = 1024 * 1024

_SHOWN: Final = 60
"""Characters of a wrong value that are worth showing."""
_INTEGERS: Final = range(-(2**63), 2**63)
_DEPTH_MAX: Final = 100
_TOO_DEEP: Final = "is nested too deeply"
_TOO_LARGE: Final = "an integer of more than 64 bits"

_PART: Final = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
_LONG_KEY: Final = re.compile(rf"(?<![\w-]){_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{16}}")
"""Seventeen words joined by dots, which no text in quotes has by accident.

The memory that `tomllib` takes for a key grows with the square of its parts, so that a
small file could fill any machine.
"""


def read_toml_text(path: Path, *, code: str, hint: str) -> str:
    """Return the text of a UTF-8 file that `tomllib` can be trusted with.

    Args:
        path: The file; a byte order mark is passed over.
        code: Code of the errors.
        hint: What such a file is.

    Raises:
        RecipeError: It is no file, has over `TOML_NBYTES_MAX` bytes, cannot be read, is
            not UTF-8, or has a key of more than 16 parts.
    """

    def failure(reason: str) -> RecipeError:
        message = f"{visible(path, 1024)}: {reason}"
        return RecipeError(message, code=code, hint=hint)

    try:
        if not path.is_file():
            raise failure("is not a file")
        with path.open("rb") as file:
            content = file.read(TOML_NBYTES_MAX + 1)
        if len(content) > TOML_NBYTES_MAX:
            raise failure(f"is over {TOML_NBYTES_MAX:,} bytes")
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise failure(error.strerror or "cannot be read") from error
    except UnicodeDecodeError as error:
        raise failure(f"is not UTF-8 at byte {error.start}") from error
    found = _LONG_KEY.search(text)
    if found:
        line = text.count("\n", 0, found.start()) + 1
        raise failure(f"has a key of more than 16 parts in line {line:,}")
    return text


def parse_toml(text: str, *, origin: str, code: str, hint: str) -> dict[str, Any]:
    """Return the document that `text` is.

    Args:
        text: TOML, as `read_toml_text` gives it.
        origin: What errors name it by, such as its path.
        code: Code of the errors.
        hint: What such a file is.

    Raises:
        RecipeError: It is not TOML, is nested too deeply, or holds an integer of more
            than 64 bits, which no reader of TOML has to accept and which Python can
            take but not print.
    """

    def failure(reason: str) -> RecipeError:
        message = f"{visible(origin, 1024)}: {reason}"
        return RecipeError(message, code=code, hint=hint)

    try:
        document = tomllib.loads(text)
    except RecursionError as error:
        raise failure(_TOO_DEEP) from error
    except tomllib.TOMLDecodeError as error:
        raise failure(f"is not TOML: {visible(error)}") from error
    except ValueError as error:  # of `int`, for thousands of digits
        raise failure(f"holds {_TOO_LARGE}") from error
    fault = _fault(document)
    if fault:
        raise failure(fault)
    return document


def value_text(value: object) -> str:
    """Return what a message says about a wrong value of a document.

    Args:
        value: Text, a number, true or false, a date, a list or a table.
    """
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f"'{visible(value, _SHOWN)}'"
        case int() if value not in _INTEGERS:  # Python does not print huge ones
            return _TOO_LARGE
        case dict():
            return "a table"
        case list():
            return f"a list of {len(value)}"
        case _:
            return visible(value, _SHOWN)


def _fault(document: dict[str, Any]) -> str:
    """Return what is wrong with a parsed document as a whole; "" if nothing is."""
    pending: list[tuple[str, object, int]] = [("", document, 0)]
    while pending:
        key, value, depth = pending.pop()
        if depth > _DEPTH_MAX:
            return _TOO_DEEP
        if isinstance(value, dict):
            pending += [
                (f"{key}.{name}" if key else name, each, depth + 1)
                for name, each in value.items()
            ]
        elif isinstance(value, list):
            pending += [
                (f"{key}[{at}]", each, depth + 1) for at, each in enumerate(value)
            ]
        elif isinstance(value, int) and value not in _INTEGERS:
            return f"{visible(key)}: got {_TOO_LARGE}"
    return ""
