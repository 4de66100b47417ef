"""Small TOML files that people write or download: definitions and rules."""

import re
from pathlib import Path
from typing import Final

from release.errors import RecipeError, visible

TOML_NBYTES_MAX: Final = 1024 * 1024

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
