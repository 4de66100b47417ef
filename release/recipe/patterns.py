"""What the texts of recipe files and release definitions look like, and in words."""

from typing import Annotated, Final

from pydantic import StringConstraints

NAME: Final = r"^[A-Za-z][A-Za-z0-9_]{0,63}$"
SHA256: Final = r"^[0-9a-f]{64}$"
LINE: Final = r"^[^\r\n]+$"

MEANINGS: Final = {
    NAME: "a letter, then up to 63 letters, digits and underscores",
    SHA256: "64 lower case hex digits",
    LINE: "one line that is not empty",
}

Name = Annotated[str, StringConstraints(pattern=NAME)]
Sha256Hex = Annotated[str, StringConstraints(pattern=SHA256)]
Line = Annotated[str, StringConstraints(pattern=LINE, max_length=2000)]
